"""Metrics to very many subscribers: points a second in all, what a training's step costs more, memory of the daemon.

Points: a trainer without a network (tests/unit/daemon/fake) sends rows as fast as the link takes them. Steps: a small network trains
all the time, and between turns with nobody come turns with a crowd (A B B A ...); a turn is as long as two rounds of the hub's news. Each
turn's steps are timed by the trainer's own clock (the scalar `time`); every pair gives a ratio of means and one of medians, printed with
their 95 % confidence interval. Beside it stands what shows on a busy machine, too: the CPU time that crowd and daemon took more, of
all processors. By hand, with any crowd: fanout_run.py --who grpcio --count 1000 --pairs 6 (REID_BUILD_DIR says which build)."""
import argparse
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import turns

HERE = pathlib.Path(__file__).parent
STEADY = ['SOLVER.IMS_PER_BATCH', '16', 'DATALOADER.NUM_INSTANCE', '4', 'SOLVER.MAX_EPOCH', '100000', 'TEST.EVAL_PERIOD', '0',
          'SOLVER.CHECKPOINT_PERIOD', '100000', 'MODEL.BACKBONE.WIDTH', '64', 'MODEL.BACKBONE.FEAT_DIM', '512']  # a step of some 50 ms
STUDENT = [0, 12.7, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23]  # 97.5 %, by degrees of freedom; further ones 2.2


def cpu_seconds(pid):
    """Time on a processor of all its threads, to the nanosecond (the process times tick in 10 ms)."""
    return sum(int((task / 'schedstat').read_text().split()[0]) for task in pathlib.Path(f'/proc/{pid}/task').iterdir()) / 1e9


def rss_mib(pid, what='VmRSS'):
    return int(pathlib.Path(f'/proc/{pid}/status').read_text().split(what + ':')[1].split()[0]) / 1024


def stand_back():
    """The load generator shares the processors with what is measured: it gets what nobody else wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Subscribers:
    """bench_fanout_client: `kind` is metrics (100 to a connection), own or watch (a connection each)."""

    def __init__(self, common, daemon, job, count, silent, kind='metrics', idle=False):
        self.process = subprocess.Popen([common.BIN.parent / 'tests/bench_fanout_client', f'unix:{daemon.socket}', job, str(count),
                                         str(silent), *([] if kind == 'metrics' else [kind])], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=stand_back if idle else None)
        assert self.process.stdout.readline() == 'ready\n'

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def end(self, at_once):
        """What they got; of a job that has not ended only `at_once`."""
        if at_once:
            self.process.stdin.close()
        figures = json.loads(self.process.stdout.readline())
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        return figures


class Stock:
    """Processes of fanout_grpcio.py; those of the silent ones are stopped (SIGSTOP)."""

    def __init__(self, daemon, job, count, silent, what='watch', processes=4, idle=False):
        shares = [(count - silent) // processes] * processes + [silent] * (silent > 0)
        self.processes = [subprocess.Popen(['/usr/bin/python3', '-B', HERE / 'fanout_grpcio.py', f'unix:{daemon.socket}', job, str(n), what],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                           preexec_fn=stand_back if idle else None) for n in shares]
        for process in self.processes:
            assert process.stdout.readline() == 'ready\n'
        self.stopped = self.processes[processes:]
        for process in self.stopped:
            process.send_signal(signal.SIGSTOP)

    def cpu(self):
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def end(self, at_once):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
            process.wait(30)
            process.stdout.close()


class Hook:
    """An asynchronous after_step hook that does nothing."""

    def __init__(self, common, daemon, job):
        self.process = subprocess.Popen([common.BIN.parent / 'tests/bench_hook_client', f'unix:{daemon.socket}', job, 'async'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.id = int(self.process.stdout.readline().split()[0])

    def cpu(self):
        return 0

    def end(self, daemon, job):
        """Seconds of the stepping thread in a call."""
        hooks = json.loads(daemon.ctl('hook', 'list', job, '-o', 'json').stdout)
        hook = next(h for h in hooks if h['id'] is not None and int(h['id']) == self.id)
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        return hook['seconds'] / max(hook['calls'], 1)


class Steps:
    """A job that trains, and turns of it with a crowd or with nobody."""

    def __init__(self, common, folder):
        self.common = common
        self.daemon = common.Daemon(folder / 'steps', '--slots', '1')
        self.job = self.daemon.ctl('submit', '--name', 'steps', common.CONFIG, 'DATASETS.ROOT', folder / 'data', 'OUTPUT_DIR',
                                   folder / 'steps-out', *common.SMALL, *STEADY).stdout.strip()
        common.wait_for(lambda: len(self.daemon.rows(self.job)) > 20, 30, 'it trains')

    def crowd(self, who, count, silent, idle):
        if who == 'hook':
            return Hook(self.common, self.daemon, self.job)
        if who.startswith('grpcio'):
            return Stock(self.daemon, self.job, count, silent, who.partition('-')[2] or 'watch', idle=idle)
        return Subscribers(self.common, self.daemon, self.job, count, silent, who, idle)

    def turn(self, crowds, seconds):
        """`crowds`: (who, count, silent, idle), at most two."""
        pid = self.daemon.process.pid
        there = [self.crowd(*one) for one in crowds]
        time.sleep(0.5)  # what they say at first
        before, clients, begin = cpu_seconds(pid), sum(one.cpu() for one in there), time.monotonic()
        first = self.daemon.job(self.job)['progress']['iteration'] + 1
        time.sleep(seconds)
        self.common.wait_for(lambda: self.daemon.job(self.job)['progress']['iteration'] > first + 5, 60, 'some steps')
        cpu, clients, took = cpu_seconds(pid) - before, sum(one.cpu() for one in there) - clients, time.monotonic() - begin
        last, mib = self.daemon.job(self.job)['progress']['iteration'] - 1, rss_mib(pid)
        ends = [one.end(self.daemon, self.job) if isinstance(one, Hook) else one.end(True) for one in there]
        call = sum(end for end in ends if isinstance(end, float))
        done = last - first
        return {'range': (first, last), 'daemon_us': cpu / done * 1e6, 'daemon_share': cpu / took, 'client_us': clients / done * 1e6,
                'call_us': call * 1e6, 'mib': mib}

    def end(self, parts):
        """Adds the steps' times to the turns."""
        self.daemon.ctl('cancel', '--grace', '2', self.job)
        self.daemon.wait_state(self.job, ('CANCELLED',), 20)
        times = {r['iteration']: r['metrics']['time'] * 1e6 for r in self.daemon.rows(self.job) if 'time' in r['metrics']}
        for part in parts:
            steps = [times[i] for i in range(*part['range']) if i in times]
            part |= {'step_us': statistics.mean(steps), 'median_us': statistics.median(steps)}


def interval(ratios):
    """Geometric mean of the pairs' ratios, and how far it may be off (95 %)."""
    logs = [math.log(r) for r in ratios]
    if len(logs) < 2:
        return math.exp(logs[0]), math.inf
    n = len(logs) - 1
    return math.exp(statistics.mean(logs)), (STUDENT[n] if n < len(STUDENT) else 2.2) * statistics.stdev(logs) / math.sqrt(len(logs))


def pairs(steps, crowd, count, seconds):
    """Turns with nobody (A) and with the crowd (B): A B, B A, ..."""
    found = []
    for i in range(count):
        parts = [steps.turn(c, seconds) for c in (([], [crowd]) if i % 2 == 0 else ([crowd], []))]
        found.append(tuple(parts if i % 2 == 0 else parts[::-1]))
    return found


def summary(found):
    """Of pairs whose steps were timed."""
    result = {}
    for key, name in (('step_us', 'mean'), ('median_us', 'median')):
        result[name], result[name + '_off'] = interval([b[key] / a[key] for a, b in found])
    keys = ('step_us', 'median_us', 'daemon_us', 'daemon_share', 'client_us', 'call_us', 'mib')
    result['alone'], result['crowd'] = ({key: statistics.median(pair[k][key] for pair in found) for key in keys} for k in (0, 1))
    more = [b['daemon_us'] - a['daemon_us'] + b['client_us'] for a, b in found]
    result['taken'] = statistics.median(us / b['step_us'] for us, (_, b) in zip(more, found)) / os.cpu_count()
    result['pairs'] = len(found)
    return result


def show_summary(who, s):
    print(f'{who:>24}{s["alone"]["step_us"]:10.0f}{s["crowd"]["step_us"]:10.0f}{s["mean"]:9.4f} ± {s["mean_off"]:.4f}'
          f'{s["median"]:9.4f} ± {s["median_off"]:.4f}{s["alone"]["daemon_us"]:8.0f}{s["crowd"]["daemon_us"]:8.0f}'
          f'{s["crowd"]["client_us"]:9.0f}{s["crowd"]["call_us"]:7.0f}{s["crowd"]["mib"]:6.0f}{s["taken"] * 100:8.2f}%')


HEADING = (f'{"crowd":>24}{"alone µs":>10}{"step µs":>10}{"ratio of means":>18}{"of medians":>18}{"daemon CPU, µs":>16}{"clients":>9}'
           f'{"hook":>7}{"MiB":>6}{"taken":>9}')


def points(common, folder, rows, count, silent, kind, history):
    """All readers get all rows of a job: `history` at once, then `rows` as they come."""
    daemon = common.Daemon(folder / f'fan-{kind}', '--trainer', str(common.BIN.parent / 'tests/reidd_fake_trainer'))
    out = folder / f'fan-out-{kind}'
    out.mkdir()
    (out / 'script').write_text(f'link\nphase 2\nrows {history}\nlast-row\nmark there\nwait go\nrows {rows}\nlast-row\nexit 0\n')
    try:
        job = daemon.ctl('submit', '--name', 'fan', common.CONFIG, 'DATASETS.ROOT', folder / 'data', 'OUTPUT_DIR', out).stdout.strip()
        common.wait_for(lambda: (out / 'there').exists(), 60, 'the first rows')
        before, begin = rss_mib(daemon.process.pid), time.monotonic()
        subscribers = Subscribers(common, daemon, job, count, silent, kind)
        caught_up = time.monotonic() - begin
        cpu = cpu_seconds(daemon.process.pid)
        (out / 'go').touch()
        result = subscribers.end(False)
        result |= {'daemon_cpu_s': cpu_seconds(daemon.process.pid) - cpu, 'history': history, 'caught_up_s': caught_up,
                   'daemon_mib': [before, rss_mib(daemon.process.pid, 'VmHWM')]}
        assert result['fewest'] == result['most'] == rows, result
        time.sleep(2 if count > 100 else 0.2)  # what is given back
        result['daemon_mib'].append(rss_mib(daemon.process.pid))
    finally:
        daemon.stop()
    print(f'{count} subscribers ({kind}), {silent} of them never read: {result["points"] / result["seconds"] / 1e6:.2f} million points/s '
          f'({result["points"] / 1e6:.1f} million in {result["seconds"]:.2f} s; CPU daemon {result["daemon_cpu_s"]:.2f} s, client '
          f'{result["cpu_seconds"]:.2f} s); {history} rows before to each in {caught_up:.1f} s; daemon {result["daemon_mib"][0]:.0f} MiB before, '
          f'at most {result["daemon_mib"][1]:.0f}, {result["daemon_mib"][2]:.0f} after')
    return result


def run(name, build, rounds, threads):
    os.environ['REID_BUILD_DIR'] = str(build)
    sys.path.insert(0, str(HERE.parent / 'integration'))
    import common
    large = name == 'fanout'
    count, silent, seconds = (1000, 20, 10) if large else (20, 2, 0.1)
    folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
    try:
        common.make_market(folder / 'data')
        fan = [points(common, folder, 2000 if large else 50, count, silent, 'metrics', 1),
               points(common, folder, 10, count, silent, 'own', 10000 if large else 1000)]
        steps = Steps(common, folder)
        crowds = {'1 subscriber': ('metrics', 1, 0, True), 'a hook': ('hook', 1, 0, False),
                  f'{count} subscribers': ('metrics', count, silent, True), f'{count} watchers': ('watch', count, silent, True)}
        try:
            found = {who: pairs(steps, crowd, rounds, seconds) for who, crowd in crowds.items()}
            steps.end([part for some in found.values() for pair in some for part in pair])
        finally:
            steps.daemon.stop()
    finally:
        common.shutil.rmtree(folder, ignore_errors=True)
    result = {who: summary(some) for who, some in found.items()}
    print(HEADING)
    for who, s in result.items():
        show_summary(who, s)
    hooked = result['a hook']['crowd']
    ratios = [turns.judge('points a second, million', fan[0]['points'] / fan[0]['seconds'] / 1e6, '>=', 1 if large else None),
              turns.judge('memory of the daemon at most, MiB', max(f['daemon_mib'][1] for f in fan), '<=', 64),
              turns.judge('daemon and hook, of a step (to be some 50 ms)', (hooked['daemon_us'] + hooked['call_us']) / hooked['step_us'],
                          '<=', 0.005)]
    for who in list(crowds)[2:]:
        ratios.append(turns.judge(f'step with {who}', result[who]['mean'], '<=', 1.01))
    return {'fan': fan, 'steps': result, 'unary': unary(build, 1 if large else 0.1), 'ratios': ratios}


def unary(build, seconds):
    """Calls a second, client and server on one core."""
    core = str(min(os.sched_getaffinity(0)))
    out = subprocess.run(['taskset', '-c', core, str(build / 'tests/bench_rpc'), str(seconds)], check=True, capture_output=True, text=True)
    print('one core, client and server:\n' + out.stdout, end='')
    return out.stdout


def main():
    parser = argparse.ArgumentParser(description='What a step costs more while a crowd looks on.')
    parser.add_argument('--who', default='watch', help='watch, own, metrics, grpcio, grpcio-metrics, hook')
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--silent', type=int, default=20)
    parser.add_argument('--pairs', type=int, default=6)
    parser.add_argument('--seconds', type=float, default=10)
    parser.add_argument('--idle', action='store_true', help='the clients have the processors that nobody wants (SCHED_IDLE)')
    o = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / 'integration'))
    import common
    folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
    try:
        common.make_market(folder / 'data')
        steps = Steps(common, folder)
        try:
            found = pairs(steps, (o.who, o.count, o.silent, o.idle), o.pairs, o.seconds)
            steps.end([part for pair in found for part in pair])
        finally:
            steps.daemon.stop()
    finally:
        common.shutil.rmtree(folder, ignore_errors=True)
    print(HEADING)
    show_summary(f'{o.count} {o.who}', summary(found))
    print('pairs:', ' '.join(f'{b["step_us"] / a["step_us"]:.4f}' for a, b in found))


if __name__ == '__main__':
    main()
