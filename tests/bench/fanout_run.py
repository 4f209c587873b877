"""Metrics to very many subscribers: points a second in all, what a training's step costs more, memory of the daemon.

Points: a trainer without a network (tests/unit/daemon/fake) sends rows as fast as the link takes them. Steps: a small network,
subscribers and a hook come and go in turns; the client has the processors that nobody wants (SCHED_IDLE), and its own time is shown.
Some of the subscribers never read."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import turns

HERE = pathlib.Path(__file__).parent
STEADY = ['SOLVER.IMS_PER_BATCH', '16', 'DATALOADER.NUM_INSTANCE', '4', 'SOLVER.MAX_EPOCH', '100000', 'TEST.EVAL_PERIOD', '0',
          'SOLVER.CHECKPOINT_PERIOD', '100000']  # a step of some 50 ms


def cpu_seconds(pid):
    """Time on a processor of all its threads, to the nanosecond (the process times tick in 10 ms)."""
    return sum(int((task / 'schedstat').read_text().split()[0]) for task in pathlib.Path(f'/proc/{pid}/task').iterdir()) / 1e9


def rss_mib(pid, what='VmRSS'):
    return int(pathlib.Path(f'/proc/{pid}/status').read_text().split(what + ':')[1].split()[0]) / 1024


def stand_back():
    """The load generator shares the processors with what is measured: it gets what nobody else wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Subscribers:
    def __init__(self, common, daemon, job, count, silent, idle=False, watch=False):
        self.process = subprocess.Popen([common.BIN.parent / 'tests/bench_fanout_client', f'unix:{daemon.socket}', job, str(count),
                                         str(silent), *(['watch'] if watch else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=stand_back if idle else None)
        assert self.process.stdout.readline() == 'ready\n'

    def end(self, at_once):
        """What they got; of a job that has not ended only `at_once`."""
        if at_once:
            self.process.stdin.close()
        figures = json.loads(self.process.stdout.readline())
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        return figures


class Hook:
    """An asynchronous after_step hook that does nothing."""

    def __init__(self, common, daemon, job):
        self.process = subprocess.Popen([common.BIN.parent / 'tests/bench_hook_client', f'unix:{daemon.socket}', job, 'async'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.id = int(self.process.stdout.readline().split()[0])

    def end(self, daemon, job):
        """Seconds of the stepping thread in a call."""
        hooks = json.loads(daemon.ctl('hook', 'list', job, '-o', 'json').stdout)
        hook = next(h for h in hooks if h['id'] is not None and int(h['id']) == self.id)
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        return hook['seconds'] / max(hook['calls'], 1)


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


def turn(common, daemon, job, count, extra, silent, seconds):
    """Step and daemon's CPU time while `count` subscribe to the metrics (or, as `extra` says, watch), or a hook is there, too."""
    pid = daemon.process.pid
    subscribers = Subscribers(common, daemon, job, count, silent, idle=True, watch=extra == 'watch') if count else None
    hook = Hook(common, daemon, job) if extra == 'hook' else None
    time.sleep(0.5)  # what they say at first
    first, cpu = daemon.job(job)['progress']['iteration'] + 1, cpu_seconds(pid)
    client = cpu_seconds(subscribers.process.pid) if count else 0
    begin = time.monotonic()
    time.sleep(seconds)
    cpu = cpu_seconds(pid) - cpu  # before it is asked how far the job is
    client = cpu_seconds(subscribers.process.pid) - client if count else 0
    took = time.monotonic() - begin
    last = daemon.job(job)['progress']['iteration'] - 1
    mib = rss_mib(pid)
    call = hook.end(daemon, job) if hook else 0
    got = subscribers.end(True) if count else {'points': 0}
    done = last - first
    return {'range': (first, last), 'daemon_us': cpu / done * 1e6, 'daemon_share': cpu / took, 'client_us': client / done * 1e6,
            'call_us': call * 1e6, 'mib': mib, 'points_per_s': got['points'] / took}


def steps(common, folder, rounds, count, silent, seconds):
    daemon = common.Daemon(folder / 'steps', '--slots', '1')
    try:
        job = daemon.ctl('submit', '--name', 'steps', common.CONFIG, 'DATASETS.ROOT', folder / 'data', 'OUTPUT_DIR',
                         folder / 'steps-out', *common.SMALL, *STEADY).stdout.strip()
        common.wait_for(lambda: len(daemon.rows(job)) > 20, 30, 'it trains')
        turns = {key: [] for key in ((0, ''), (1, ''), (1, 'hook'), (count, ''), (count, 'watch'))}
        for _ in range(rounds):
            for key in turns:  # in turns: machines drift
                turns[key].append(turn(common, daemon, job, *key, min(silent, key[0] // 2), seconds))
        daemon.ctl('cancel', '--grace', '2', job)
        daemon.wait_state(job, ('CANCELLED',), 20)
        wall = {r['iteration']: r['wall_ms'] for r in daemon.rows(job) if 'total_loss' in r['metrics']}
    finally:
        daemon.stop()
    result = {}
    for (number, extra), parts in turns.items():
        for part in parts:
            a, b = part['range']
            part['step_us'] = (wall[b] - wall[a]) / (b - a) * 1e3
        keys = ('step_us', 'daemon_us', 'daemon_share', 'client_us', 'call_us', 'mib', 'points_per_s')
        result[f'{number}{dict(hook=" and a hook", watch=" watchers").get(extra, "")}'] = {key: statistics.median(p[key] for p in parts) for key in keys}
    return result


def show(fan, step, count, silent):
    print(f'{count} subscribers, {silent} of them never read\n'
          f'fan-out: {fan["points"] / fan["seconds"] / 1e6:.2f} million points/s ({fan["points"] / 1e6:.1f} million in '
          f'{fan["seconds"]:.2f} s; CPU daemon {fan["daemon_cpu_s"]:.2f} s, client {fan["cpu_seconds"]:.2f} s), daemon '
          f'{fan["daemon_mib"][0]:.0f} MiB before, at most {fan["daemon_mib"][1]:.0f} MiB\n'
          f'{"subscribers":>14}{"step µs":>10}{"daemon CPU/step µs":>20}{"of a core":>11}{"client µs":>11}{"hook µs":>9}{"points/s":>10}{"MiB":>6}')
    for c, r in step.items():
        print(f'{c:>14}{r["step_us"]:10.0f}{r["daemon_us"]:20.0f}{r["daemon_share"] * 100:10.2f}%{r["client_us"]:11.0f}'
              f'{r["call_us"]:9.0f}{r["points_per_s"]:10.0f}{r["mib"]:6.0f}')
    hooked, alone, many, watched = step['1 and a hook'], step['0'], step[str(count)], step[f'{count} watchers']
    return [turns.judge('points a second, million', fan['points'] / fan['seconds'] / 1e6, '>=', 1 if count == 1000 else None),
            turns.judge('daemon and hook, of a step (to be some 50 ms)', (hooked['daemon_us'] + hooked['call_us']) / hooked['step_us'],
                        '<=', 0.005),
            turns.judge(f'step with {count} subscribers', many['step_us'] / alone['step_us'], '<=', 1.01),
            turns.judge(f'step with {count} watchers, a connection each', watched['step_us'] / alone['step_us'], '<=', 1.01),
            turns.judge('the same, less what the client took of 2 cores, watchers',
                        (watched['step_us'] - watched['client_us'] / os.cpu_count()) / alone['step_us'], '<=', None),
            turns.judge('the same, less what the client took of 2 cores',
                        (many['step_us'] - many['client_us'] / os.cpu_count()) / alone['step_us'], '<=', None)]


def run(name, build, rounds, threads):
    os.environ['REID_BUILD_DIR'] = str(build)
    sys.path.insert(0, str(HERE.parent / 'integration'))
    import common
    count, silent, rows = (1000, 20, 2000) if name == 'fanout' else (20, 2, 50)
    folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
    try:
        common.make_market(folder / 'data')
        fan = points(common, folder, rows, count, silent)
        step = steps(common, folder, rounds, count, silent, 6 if name == 'fanout' else 2)
    finally:
        common.shutil.rmtree(folder, ignore_errors=True)
    ratios = show(fan, step, count, silent)
    return {'fan': fan, 'steps': step, 'unary': unary(build), 'ratios': ratios}


def unary(build):
    """Calls a second, client and server on one core."""
    core = str(min(os.sched_getaffinity(0)))
    out = subprocess.run(['taskset', '-c', core, str(build / 'tests/bench_rpc'), '1'], check=True, capture_output=True, text=True)
    print('one core, client and server:\n' + out.stdout, end='')
    return out.stdout
