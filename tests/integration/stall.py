#!/usr/bin/python3
"""A rank that hangs is named: by the daemon while the others wait, and in the cause of the failure."""
import os
import pathlib
import signal
import unittest

import common

# It is stopped anywhere in its step: before a collective call, or in one that both have begun.
MISSED = r'(rank 1 has (not come to|come to, but not begun,|not finished)|all ranks are in)'


@common.needs_mpi
class Stall(common.Case):
    def setUp(self):
        self.daemon = common.Daemon(self.folder / self.id().rsplit('.', 1)[1][:8], '--slots', '2', '--stall-notice', '2')
        self.addCleanup(self.daemon.stop)

    def submit(self, *more):
        done = self.daemon.ctl('submit', '-n', '2', '--config-file', common.CONFIG, *self.overrides('x', *more), timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()[-1]

    def rank(self, job, number):
        """The process of one rank, when both have made steps."""
        common.wait_for(lambda: int(self.daemon.job(job).get('progress', {}).get('iteration', 0)) > 20, 60, 'the first steps')
        mark = f'OMPI_COMM_WORLD_RANK={number}\0'.encode()
        return next(p for p in self.daemon.rank_pids(job) if mark in pathlib.Path(f'/proc/{p}/environ').read_bytes())

    def events(self, job):
        done = self.daemon.ctl('describe', job)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_named_while_it_hangs_and_it_may_go_on(self):
        job = self.submit('SOLVER.MAX_EPOCH', '40000', 'TEST.EVAL_PERIOD', '0')
        pid = self.rank(job, 1)
        os.kill(pid, signal.SIGSTOP)
        try:
            detail = common.wait_for(lambda: (lambda t: t if 'stalled' in t else None)(self.daemon.job(job).get('detail', '')),
                                     30, 'the stall is told')
            self.assertRegex(detail, rf'stalled: {MISSED} \S+ \d+ \(.*training\),? .*\d+ s')
            self.assertIn(f'process {pid} of rank 1 is stopped', detail)
        finally:
            os.kill(pid, signal.SIGCONT)
        common.wait_for(lambda: 'stalled' not in self.daemon.job(job).get('detail', ''), 30, 'it goes on')
        self.assertRegex(self.events(job), MISSED)
        self.daemon.ctl('cancel', job)
        self.daemon.wait_state(job, ('CANCELLED',), 60)

    def test_named_in_the_failure(self):
        job = self.submit('SOLVER.MAX_EPOCH', '40000', 'TEST.EVAL_PERIOD', '0', 'COMM.TIMEOUT_S', '4')
        pid = self.rank(job, 1)
        os.kill(pid, signal.SIGSTOP)
        ended = self.daemon.wait_state(job, ('FAILED',), 60)
        self.assertFalse(common.alive(pid))
        self.assertRegex(str(ended), r'timed out after 4\S* s in phase training on rank 0: (nothing came from|data were not taken by) rank 1')
        self.assertRegex(self.events(job), rf'flight.*{MISSED}')


if __name__ == '__main__':
    common.main()
