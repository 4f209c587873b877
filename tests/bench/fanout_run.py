"""Metrics to very many subscribers: points a second in all, what a training's step costs more, memory of the daemon.

Points: a trainer without a network (tests/unit/daemon/fake) sends rows as fast as the link takes them. Steps: the smallest
network and batch, subscribers come and go in turns. Some of the subscribers never read."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
TINY = ['SOLVER.IMS_PER_BATCH', '4', 'DATALOADER.NUM_INSTANCE', '2', 'SOLVER.MAX_EPOCH', '100000', 'TEST.EVAL_PERIOD', '0',
        'SOLVER.CHECKPOINT_PERIOD', '100000']
STEP_S = 0.05  # what the cost of a step is held against


def cpu_seconds(pid):
    """User and system time of all its threads."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def rss_mib(pid, what='VmRSS'):
    return int(pathlib.Path(f'/proc/{pid}/status').read_text().split(what + ':')[1].split()[0]) / 1024


class Subscribers:
    def __init__(self, common, daemon, job, count, silent):
        self.process = subprocess.Popen([common.BIN.parent / 'tests/bench_fanout_client', f'unix:{daemon.socket}', job, str(count),
                                         str(silent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == 'ready\n'

    def end(self, at_once):
        """What they got; of a job that has not ended only `at_once`."""
        if at_once:
            self.process.stdin.close()
        figures = json.loads(self.process.stdout.readline())
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        return figures


def points(common, folder, rows, count, silent):
    """All readers get all rows of a job."""
    daemon = common.Daemon(folder / 'fan', '--trainer', str(common.BIN.parent / 'tests/reidd_fake_trainer'))
    out = folder / 'fan-out'
    out.mkdir()
    (out / 'script').write_text(f'link\nphase 2\nrows 1\nlast-row\nwait go\nrows {rows}\nlast-row\nexit 0\n')
    try:
        job = daemon.ctl('submit', '--name', 'fan', common.CONFIG, 'DATASETS.ROOT', folder / 'data', 'OUTPUT_DIR', out).stdout.strip()
        common.wait_for(lambda: daemon.rows(job), 20, 'the first row')
        before = rss_mib(daemon.process.pid)
        subscribers = Subscribers(common, daemon, job, count, silent)
        cpu = cpu_seconds(daemon.process.pid)
        (out / 'go').touch()
        result = subscribers.end(False)
        result['daemon_cpu_s'] = cpu_seconds(daemon.process.pid) - cpu
        result['daemon_mib'] = [before, rss_mib(daemon.process.pid, 'VmHWM')]
        assert result['fewest'] == result['most'] == rows, result
    finally:
        daemon.stop()
    return result


def turn(common, daemon, job, count, silent, seconds):
    """Step and daemon's CPU time while `count` subscribe."""
    subscribers = Subscribers(common, daemon, job, count, silent) if count else None
    cpu, first, begin = cpu_seconds(daemon.process.pid), daemon.job(job)['progress']['iteration'] + 1, time.monotonic()
    time.sleep(seconds)
    last, cpu = daemon.job(job)['progress']['iteration'] - 1, cpu_seconds(daemon.process.pid) - cpu
    seconds = time.monotonic() - begin
    mib = rss_mib(daemon.process.pid)
    got = subscribers.end(True) if count else {'points': 0}
    return {'range': (first, last), 'daemon_us': cpu / (last - first) * 1e6, 'daemon_share': cpu / seconds, 'mib': mib,
            'points_per_s': got['points'] / seconds}


def steps(common, folder, rounds, count, silent, seconds=2):
    daemon = common.Daemon(folder / 'steps', '--slots', '1')
    try:
        job = daemon.ctl('submit', '--name', 'steps', common.CONFIG, 'DATASETS.ROOT', folder / 'data', 'OUTPUT_DIR',
                         folder / 'steps-out', *common.SMALL, *TINY).stdout.strip()
        common.wait_for(lambda: len(daemon.rows(job)) > 20, 30, 'it trains')
        turns = {c: [] for c in (0, 1, count)}
        for _ in range(rounds):
            for c in turns:  # in turns: machines drift
                turns[c].append(turn(common, daemon, job, c, min(silent, c // 2), seconds))
        daemon.ctl('cancel', '--grace', '2', job)
        daemon.wait_state(job, ('CANCELLED',), 20)
        wall = {r['iteration']: r['wall_ms'] for r in daemon.rows(job) if 'total_loss' in r['metrics']}
    finally:
        daemon.stop()
    result = {}
    for c, parts in turns.items():
        result[c] = {key: statistics.median(p[key] for p in parts) for key in ('daemon_us', 'daemon_share', 'mib', 'points_per_s')}
        result[c]['step_us'] = statistics.median((wall[b] - wall[a]) / (b - a) * 1e3 for a, b in (p['range'] for p in parts))
    return result


def show(fan, step, count, silent):
    print(f'{count} subscribers, {silent} of them never read\n'
          f'fan-out: {fan["points"] / fan["seconds"] / 1e6:.2f} million points/s ({fan["points"] / 1e6:.1f} million in '
          f'{fan["seconds"]:.2f} s; CPU daemon {fan["daemon_cpu_s"]:.2f} s, client {fan["cpu_seconds"]:.2f} s), daemon '
          f'{fan["daemon_mib"][0]:.0f} MiB before, at most {fan["daemon_mib"][1]:.0f} MiB\n'
          f'{"subscribers":>12}{"step µs":>10}{"daemon CPU/step µs":>20}{"of a core":>11}{"points/s":>10}{"MiB":>6}')
    for c, r in step.items():
        print(f'{c:12}{r["step_us"]:10.0f}{r["daemon_us"]:20.0f}{r["daemon_share"] * 100:10.1f}%{r["points_per_s"]:10.0f}{r["mib"]:6.0f}')


def run(name, build, rounds, threads):
    os.environ['REID_BUILD_DIR'] = str(build)
    sys.path.insert(0, str(HERE.parent / 'integration'))
    import common
    count, silent, rows = (1000, 20, 2000) if name == 'fanout' else (20, 2, 50)
    folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
    try:
        common.make_market(folder / 'data')
        fan = points(common, folder, rows, count, silent)
        step = steps(common, folder, rounds, count, silent)
    finally:
        common.shutil.rmtree(folder, ignore_errors=True)
    show(fan, step, count, silent)
    return {'fan': fan, 'steps': step, 'unary': unary(build)}


def unary(build):
    """Calls a second, client and server on one core."""
    core = str(min(os.sched_getaffinity(0)))
    out = subprocess.run(['taskset', '-c', core, str(build / 'tests/bench_rpc'), '1'], check=True, capture_output=True, text=True)
    print('one core, client and server:\n' + out.stdout, end='')
    return out.stdout
