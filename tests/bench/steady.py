#!/usr/bin/python3
"""What a step costs besides computing, once it has settled: allocations, page faults, system calls.

Of a training of 5 epochs (24 steps and a log line each) the last two are counted: histories of scalars, which double as they fill, do
not grow then. Allocations and page faults are counted by a preloaded library (steady_counter.c), system calls by strace where it is
installed and allowed. Fails when reid-train's own code allocates on the stepping thread in these 48 steps and their log lines, or
when a step makes system calls other than those by which it waits and speaks to reidd."""
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'integration'))
import common  # noqa: E402

COUNTER = common.BIN.parent / 'tests/steady_counter.so'
FROM, TO = 71, 119  # the last iterations of epochs 3 and 5
STEPS = TO - FROM
CASE = ['SOLVER.IMS_PER_BATCH', '8', 'DATALOADER.NUM_INSTANCE', '4', 'TEST.EVAL_PERIOD', '0', 'SOLVER.CHECKPOINT_PERIOD', '1000',
        'SOLVER.WARMUP_ITERS', '0', 'SEED', '1', 'SOLVER.MAX_EPOCH', '5']
COUNT = {'LD_PRELOAD': str(COUNTER), 'REID_STEADY_FROM': str(FROM), 'REID_STEADY_TO': str(TO)}
LIMIT = 0.5  # a step: an allocation of each step counts 1; queues that grow as threads meet differ by some from start to start
FAULTS = 20  # a step; a buffer that is made anew each time has hundreds
TRIES = 4  # threads that meet in another way than ever before may make a queue grow
# How a step waits for others; rare calls (a log line) are less than half a call a step.
WAITING = {'futex', 'clock_nanosleep', 'sched_yield', 'restart_syscall'}
# A row for reidd: into the spool, and the wake-up of the link's thread.
LINK = {'write': 2}


class Steady(common.Case):
    def counted(self, ranks):
        """Rank 0's line of a training without a daemon."""
        out = self.folder / 'steady.json'
        out.unlink(missing_ok=True)
        env = {**self.environment(ranks), **COUNT, 'REID_STEADY_FILE': str(out), 'GOMP_SPINCOUNT': '1000'}
        done = subprocess.run(self.command('steady', *CASE, ranks=ranks), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)
        return self.rank_line(out)

    def rank_line(self, out):
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual([(line['program'], line['steps']) for line in lines], [('reid-train', STEPS)])
        return lines[0]

    def counted_managed(self):
        """Of a job of a daemon's."""
        out = self.folder / 'managed.json'
        out.unlink(missing_ok=True)
        more = {**COUNT, 'REID_STEADY_FILE': str(out)}
        os.environ |= more
        try:
            daemon = common.Daemon(pathlib.Path(tempfile.mkdtemp(dir=self.folder)), '--slots', '1')
        finally:
            for name in more:
                del os.environ[name]
        try:
            done = daemon.ctl('submit', '--name', 'steady', common.CONFIG, *self.overrides('managed', *CASE))
            self.assertEqual(done.returncode, 0, done.stderr)
            daemon.wait_state('steady', ('SUCCEEDED',), 60)
        finally:
            daemon.stop()
        return self.rank_line(out)

    def check(self, kind, count):
        for _ in range(TRIES):
            line = count()
            module = {name: [c / STEPS for c in counts] for name, counts in line['modules'].items() if name}
            allocations, faults = module.get('reid-train', [0, 0])[0], line['faults'] / STEPS
            print(f'\n{kind}: {faults:.1f} page faults a step; allocations a step (stepping thread, others): '
                  + ', '.join(f'{name} {a:.2f} {b:.2f}' for name, (a, b) in sorted(module.items()) if a or b))
            if allocations < LIMIT and faults < FAULTS:
                break
        self.assertLess(allocations, LIMIT, f'allocations of reid-train by place in the program: {line["own"]}')
        self.assertLess(faults, FAULTS)

    def test_one_rank(self):
        self.check('1 rank', lambda: self.counted(1))

    @common.needs_mpi
    def test_two_ranks(self):
        self.check('2 ranks', lambda: self.counted(2))

    def test_one_rank_with_a_daemon(self):
        self.check('1 rank with a daemon', self.counted_managed)

    def attached(self, ranks):
        """What the stepping threads of a job's ranks call in one step, told by reidd's rows; a list, one for each rank."""
        daemon = common.Daemon(self.folder / f'traced-{ranks}', '--slots', '2')
        try:
            out = f'traced-out-{ranks}'
            job = daemon.ctl('submit', '-n', ranks, common.CONFIG,
                             *self.overrides(out, *CASE, 'SOLVER.MAX_EPOCH', '10000')).stdout.strip()
            common.wait_for(lambda: len(daemon.rows(job)) > 30, 30, 'it trains')
            pids, first = daemon.rank_pids(job), len(daemon.rows(job))
            files = [self.folder / f'attached-{ranks}-{pid}' for pid in pids]
            tracers = [subprocess.Popen(['strace', '-o', str(file), '-p', str(pid)], stderr=subprocess.PIPE, text=True)
                       for pid, file in zip(pids, files)]
            common.wait_for(lambda: len(daemon.rows(job)) > first + 40 or any(t.poll() for t in tracers), 90, '40 steps')
            for tracer in tracers:
                tracer.send_signal(signal.SIGINT)
            errors = ''.join(tracer.communicate()[1] for tracer in tracers)
            if 'not permitted' in errors:
                self.skipTest('strace is not allowed')
            steps = len(daemon.rows(job)) - first
            daemon.ctl('cancel', '--grace', '2', job)
            daemon.wait_state(job, ('CANCELLED',), 20)
        finally:
            daemon.stop()
        counts = [collections.Counter(m[1] for m in map(re.compile(r'(\w+)\(').match, file.read_text().splitlines()) if m)
                  for file in files]
        self.assertEqual(len(counts), ranks)
        return [{name: n / steps for name, n in count.items()} for count in counts]

    def check_attached(self, ranks):
        for calls in self.attached(ranks):
            print(f'\nsystem calls a step of a rank of {ranks} under reidd:', {name: round(n, 2) for name, n in calls.items()})
            self.assertEqual({name: n for name, n in calls.items() if name not in WAITING and n >= LINK.get(name, 0) + 0.5}, {})

    @unittest.skipUnless(shutil.which('strace'), 'strace is not installed')
    def test_system_calls_of_a_rank_under_a_daemon(self):
        self.check_attached(1)

    @common.needs_mpi
    @unittest.skipUnless(shutil.which('strace'), 'strace is not installed')
    def test_system_calls_of_two_ranks_under_a_daemon(self):
        self.check_attached(2)

    @unittest.skipUnless(shutil.which('strace'), 'strace is not installed')
    def test_system_calls_of_the_stepping_thread(self):
        trace = self.folder / 'trace'
        trace.mkdir()
        command = ['strace', '-ff', '-s', '200', '-o', str(trace / 't'), *self.command('calls', *CASE)]
        done = subprocess.run(command, env={**self.environment(), 'GOMP_SPINCOUNT': '1000'}, capture_output=True, text=True, timeout=120)
        if 'not permitted' in done.stderr:
            self.skipTest('strace is not allowed')
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = min(trace.iterdir(), key=lambda p: int(p.suffix[1:])).read_text().splitlines()  # of the main thread
        marks = [next(i for i, line in enumerate(lines) if re.search(f'epoch/iter: [0-9]+/{n} ', line)) for n in (FROM, TO)]
        calls = collections.Counter(m[1] for m in map(re.compile(r'(\w+)\(').match, lines[marks[0]:marks[1]]) if m)
        print('\nsystem calls a step on the stepping thread:', {name: round(n / STEPS, 2) for name, n in calls.items()})
        self.assertEqual({name: n for name, n in calls.items() if name not in WAITING and n >= 0.5 * STEPS}, {})


if __name__ == '__main__':
    common.main()
