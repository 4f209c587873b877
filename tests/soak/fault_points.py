#!/usr/bin/python3
"""Fault points: reidd, or its shim, dies at the Nth call that changes something (fault_points.c), or that call fails; for each N.

    tests/soak/fault_points.py [--program reidd|reidd-shim] [--do before|after|ENOSPC|EIO] [--ranks N] [--sample K --seed S] [--keep]

Each point gets a state folder of its own, in which one job trains (a script, tests/unit/daemon/fake) while another one is held, let go and
cancelled. Whatever happens at the point, both come to their end, and all invariants of killer.py hold."""
import argparse
import errno
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import killer
from killer import Broken, check, common

LIBRARY = common.BIN.parent / 'tests/reid_fault_points.so'


class Point(killer.Scripted):
    """One life of reidd, in which the call number `at` is the one; 0: none."""

    def __init__(self, args, folder, config, at):
        super().__init__(folder, at)
        self.ranks, self.config, self.counter = args.ranks, config, self.folder / 'count'
        self.counter.write_bytes(bytes(8))
        self.faults = {'LD_PRELOAD': str(LIBRARY), 'REID_FAULT_PROGRAM': args.program, 'REID_FAULT_COUNT': str(self.counter),
                       'REID_FAULT_AT': str(at), 'REID_FAULT_DO': str(getattr(errno, args.do, args.do))}

    def calls(self):
        return int.from_bytes(self.counter.read_bytes(), sys.byteorder)

    def start(self):
        os.environ.update(self.faults)
        try:
            self.daemon = common.Daemon(self.folder / 's', *killer.OPTIONS, *self.trainer_options(), start=False)
            self.revive()
        finally:
            for name in self.faults:
                del os.environ[name]

    def revive(self):
        """The point may lie in the start itself; then it died, or said why it cannot."""
        process = self.daemon.process
        if process is not None and process.poll() is None:
            return
        try:
            self.daemon.start()
        except AssertionError as late:
            code = self.daemon.process.wait(10)
            log = (self.daemon.state / 'reidd.log').read_text()
            check(code == -9 or (code > 0 and 'reidd: ' in log), f'reidd ended with {code}: {log[-500:]} ({late})')
            self.daemon.start()

    def new_job(self, name, ranks):
        job = killer.Job(name, ranks, self.folder / 'out' / name, 8)
        job.out.mkdir(parents=True)
        (job.out / 'script').write_text(f'link\nphase 2\ntrain {job.iterations} 2 3\n')
        return job

    def job_words(self, job):
        return [self.config, 'OUTPUT_DIR', job.out]

    def ask(self, *words, done_already=lambda: False):
        """Until it is acknowledged: once more when reidd has died of it, or refused it with a sentence. None: it was done without."""
        for _ in range(3):
            done = self.daemon.ctl(*words)
            if done.returncode == 0:
                return done.stdout
            check(len(done.stderr.strip().splitlines()) == 1, f'{words[0]}: {done.stderr}')
            self.revive()
            if done_already():
                return None
        raise Broken(f'{words[0]}: {done.stderr}')

    def submit(self, name, *options):
        job = self.new_job(name, self.ranks)
        self.jobs.append(job)
        text = self.ask('submit', '--name', name, '-n', job.ranks, '--max-restarts', '5', '--restart-backoff', '0.001', *options, *self.job_words(job),
                        done_already=lambda: name in self.list())
        job.id = text.split()[-1] if text else None

    def list(self):
        for _ in range(3):
            try:
                return super().list()
            except Broken as lost:  # reidd has died meanwhile
                error = lost
                time.sleep(0.1)
                self.revive()
        raise error

    def state(self, name):
        return self.list()[name]['state']

    def run(self):
        self.start()
        self.submit('trains')
        self.submit('held', '--hold')
        self.jobs[-1].cancelled = True
        self.ask('priority', 'held', '3')
        self.ask('cancel', 'held', done_already=lambda: self.state('held') == 'CANCELLED')
        common.wait_for(self.is_over, 60, 'all jobs end')
        self.last = self.calls()
        self.counter.write_bytes((1 << 60).to_bytes(8, sys.byteorder))  # the point shall not lie among the checks
        self.revive()
        self.check_end()
        self.daemon.stop()

    def is_over(self):
        self.revive()
        return super().is_over()


def passed(args, config, at):
    """Lives through one point; how many calls there were, or None when an invariant is broken."""
    folder = tempfile.mkdtemp(prefix='reid-fault-')
    world, good = Point(args, folder, config, at), False
    try:
        world.run()
        good = True
    except (Broken, AssertionError, subprocess.TimeoutExpired) as broken:
        print(f'{args.program}, {args.do} call {at}, in {folder}: {str(broken)[-800:]}', flush=True)
    finally:
        if world.daemon and world.daemon.process:
            world.daemon.kill()
            for _, pid in world.processes():
                killer.send(pid)
        if good or not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return world.last if good else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--program', choices=('reidd', 'reidd-shim'), default='reidd')
    parser.add_argument('--do', choices=('before', 'after', 'ENOSPC', 'EIO'), default='before')
    parser.add_argument('--ranks', type=int, default=1)
    parser.add_argument('--first', type=int, default=1)
    parser.add_argument('--last', type=int, help='default: as many as an undisturbed life has')
    parser.add_argument('--sample', type=int, help='that many of them, by chance')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--keep', action='store_true', help='leave the folders of points that failed')
    args = parser.parse_args()
    text = subprocess.run([common.BIN / 'reidctl', 'submit', '--dry-run', common.CONFIG], check=True, capture_output=True, text=True).stdout
    with tempfile.NamedTemporaryFile('w', suffix='.yml') as config:
        config.write(text)
        config.flush()
        calls = passed(args, config.name, 0)
        if not calls:
            print(f'{args.program} makes no call that can be counted')
            return 1
        points = range(args.first, (args.last or calls) + 1)
        if args.sample:
            points = sorted(random.Random(args.seed).sample(points, min(args.sample, len(points))))
        bad = [at for at in points if passed(args, config.name, at) is None]
    print(f'{args.program}, {args.do}: {len(points)} points of {calls}, broken: {bad or "none"}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
