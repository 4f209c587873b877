#!/usr/bin/python3
"""A start over nodes in which the daemon of the head, or of a member, dies at the Nth call that changes something.

    tests/cluster/starts.py [--all] [--sample K] [--seed S] [--victim node1|node2] [--do before|after]

The job waits on hold; the count of tests/soak/fault_points.c is armed, the job is released, the daemon dies and is started again. Whatever
was under way, the job runs and comes to its end, and no attempt of it fails; one whose supervisor never
started goes back to the queue."""
import argparse
import random
import re
import signal
import sys

import cluster
from cluster import BUILD, wait_for

LIBRARY = BUILD / 'tests/reid_fault_points.so'
FAR = 1 << 40  # the call at which the daemon dies; the count is set to some calls before it
SCRIPT = 'link\n0:progress 1 20\n0:rows 3\non-term 0\nout ready\nwait go\n0:rows 4\n0:last-row\nout over\n'
RANKS = 2
OVER = ('SUCCEEDED', 'FAILED', 'CANCELLED')


class Starts(cluster.Cluster):
    """Two nodes of one slot; `victim` has the fault points."""

    def __init__(self, victim, do):
        super().__init__(2, '--slots', '1', '--grace', '2')
        self.victim, self.count = victim, self.folder / 'count'
        self.environment[victim] = {'LD_PRELOAD': str(LIBRARY), 'REID_FAULT_PROGRAM': 'reidd', 'REID_FAULT_COUNT': str(self.count),
                                    'REID_FAULT_AT': str(FAR), 'REID_FAULT_DO': do}
        self.disarm()

    def arm(self, calls):
        with open(self.count, 'r+b') as file:  # in place: it is mapped
            file.write((FAR - calls).to_bytes(8, sys.byteorder))

    def disarm(self):
        self.count.touch()
        with open(self.count, 'r+b') as file:
            file.write(bytes(8))

    def calls(self):
        return int.from_bytes(self.count.read_bytes(), sys.byteorder)

    def died(self):
        code = self.daemons[self.victim].poll()
        assert code in (None, -signal.SIGKILL), f'reidd of {self.victim} ended with {code}: {self.log(self.victim)[-2000:]}'
        return code is not None

    def is_held(self, job):
        found = self.job(job)
        return found['state'] == 'PENDING' and found.get('held', False)

    def trains(self, job):
        return self.ctl(self.head, 'logs', job).stdout.count('ready') == RANKS

    def once(self, calls):
        """The daemon dies at that call after the release; None: it does not. Returns the calls until all ranks are up, and whether it died."""
        job, out = self.submit(SCRIPT, '--hold', '-n', RANKS)
        assert self.is_held(job)
        self.disarm()
        if calls:
            self.arm(calls)
        self.ctl(self.head, 'release', job)
        wait_for(lambda: self.died() or self.trains(job), 30, f'{job} starts, or the daemon dies')
        took, died = self.calls(), self.died()
        if died:
            self.disarm()
            self.start(self.victim)
            if self.is_held(job):  # it died before that was stored
                self.ctl(self.head, 'release', job)
        else:
            self.disarm()
        wait_for(lambda: self.trains(job) or self.job(job)['state'] in OVER, 40, f'{job} has all of its ranks')
        (out / 'go').touch()
        found = self.wait_job(job, OVER, 40)
        rows = [int(seq) for seq in re.findall(r'"seq": (\d+)', self.ctl(self.head, 'metrics', job).stdout)]
        assert found['state'] == 'SUCCEEDED', f'{found["state"]}: {found.get("failure")}'
        again = self.log(self.head).count(f'job back in the queue id={job}: its supervisor never started')
        assert found['attempt'] == 1 + again, f'attempt {found["attempt"]} though {again} went back to the queue'
        assert rows == list(range(1, 8)), f'rows {rows}'
        self.wait_up(*self.names)
        wait_for(lambda: not list((self.state('node2') / 'parts').glob('*')), 20, 'node2 has forgotten its part')
        return took, died


def try_points(victim, do, args):
    with Starts(victim, do) as c:
        last = c.once(None)[0] + 20  # those between the start of the last rank and the job's end come too
        points = range(1, last + 1)
        if not args.all:
            points = sorted(random.Random(f'{args.seed} {victim} {do}').sample(points, min(args.sample, last)))
        failed = deaths = 0
        for point in points:
            try:
                deaths += c.once(point)[1]
            except AssertionError as what:
                failed += 1
                print(f'{victim}, {do} call {point} of {last}: {what}\n{c.log(victim)[-1500:]}', flush=True)
                if failed == 5:
                    break
        print(f'{victim} died {deaths} times {do} one of {last} calls ({len(points)} tried): {failed} failed', flush=True)
        return failed == 0 and deaths > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--all', action='store_true', help='each call')
    parser.add_argument('--sample', type=int, default=4, help='that many of them, by chance')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--victim', choices=('node1', 'node2'))
    parser.add_argument('--do', choices=('before', 'after'))
    args = parser.parse_args()
    cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE, LIBRARY)
    cases = [(victim, do) for victim in ('node1', 'node2') for do in ('before', 'after')
             if args.victim in (None, victim) and args.do in (None, do)]
    return 0 if all([try_points(*case, args) for case in cases]) else 1


if __name__ == '__main__':
    sys.exit(main())
