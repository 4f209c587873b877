#!/usr/bin/python3
"""reidd and reidctl with real jobs: submit, watch, cancel, and every process killed in turn."""
import json
import os
import signal
import subprocess

import common


class WithDaemon(common.Case):
    def setUp(self):
        self.daemon = common.Daemon(self.folder / self.id().rsplit('.', 1)[1][:24], '--slots', str(common.RANKS))

    def tearDown(self):
        for job in json.loads(self.daemon.ctl('ps', '-o', 'json').stdout or '[]'):
            self.daemon.ctl('cancel', '--grace', '1', job['id'])
            self.daemon.wait_state(job['id'], ('CANCELLED', 'FAILED', 'SUCCEEDED'), 20)
        self.daemon.stop()

    def submit(self, name, *more, ranks=common.RANKS, options=()):
        done = self.daemon.ctl('submit', '--name', name, '-n', ranks, *options, common.CONFIG,
                               *self.overrides(name, *more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def assertComplete(self, job, iterations):
        """Each iteration's losses are there exactly once, and sequence numbers have no gap."""
        rows = self.daemon.rows(job)
        self.assertEqual([r['seq'] for r in rows], list(range(1, len(rows) + 1)))
        trained = [r['iteration'] for r in rows if 'total_loss' in r['metrics']]
        self.assertEqual(trained, list(range(iterations)))

    def assertNothingLeft(self, job):
        common.wait_for(lambda: not common.processes_with(f'REIDD_JOB={job}'), 10, 'all processes of the job are gone')

    def test_job_from_submit_to_success(self):
        done = self.daemon.ctl('submit', '-f', '--name', 'whole', '-n', common.RANKS, common.CONFIG,
                               *self.overrides('whole', 'SOLVER.MAX_EPOCH', '3', 'TEST.EVAL_PERIOD', '3'))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('SUCCEEDED', done.stdout)
        self.assertRegex(done.stdout, r'epoch \d/3  iter \d+/18  eta .* total_loss')
        self.assertRegex(done.stdout, r'evaluation .*mAP')
        job = self.daemon.job('whole')
        self.assertEqual((job['state'], job['exit_code'], job['progress']['iteration']), ('SUCCEEDED', 0, 18))
        self.assertIn('mAP', job['latest'])
        self.assertComplete('whole', 18)
        self.assertEqual(self.daemon.ctl('wait', 'whole').returncode, 0)
        self.assertIn('training set', self.daemon.ctl('logs', '--rank', 0, 'whole').stdout)
        losses = self.daemon.ctl('metrics', '--names', 'loss_*', '-o', 'csv', job['id'][:5]).stdout.splitlines()
        self.assertEqual(len(losses), 1 + 2 * 18)
        self.assertIn('MAX_EPOCH: 3', self.daemon.ctl('config', 'whole').stdout)
        self.assertNothingLeft(job['id'])

    def test_impossible_jobs_are_refused_at_once(self):
        cases = [(5, ['-n', '3'], ['SOLVER.IMS_PER_BATCH', '48'], 'slots'),
                 (2, [], ['SOLVER.NO_SUCH', '1'], 'SOLVER.NO_SUCH'),
                 (None, [], ['DATASETS.ROOT', '/nonexistent'], '/nonexistent'),
                 (None, [], ['SOLVER.IMS_PER_BATCH', '128'], 'identities'),
                 (None, ['--resume'], ['OUTPUT_DIR', str(self.folder / 'empty')], 'checkpoint')]
        for code, options, more, word in cases:
            with self.subTest(word=word):
                done = self.daemon.ctl('submit', *options, common.CONFIG, *self.overrides('refused', *more))
                self.assertNotEqual(done.returncode, 0)
                if code is not None:
                    self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(word, done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(self.daemon.ctl('ps', '-a', '-q').stdout, '')
        self.assertEqual(self.daemon.ctl('describe', 'nobody').returncode, 4)

    def test_queue_is_first_in_first_out(self):
        first = self.submit('first', 'SOLVER.MAX_EPOCH', '4000')
        self.daemon.wait_state(first, ('RUNNING',), 20)
        second = self.submit('second', 'SOLVER.MAX_EPOCH', '1')
        third = self.submit('third', 'SOLVER.MAX_EPOCH', '1')
        self.assertEqual([self.daemon.job(j)['queue_position'] for j in (second, third)], [1, 2])
        self.assertEqual(self.daemon.ctl('cancel', third).returncode, 0)
        self.daemon.wait_state(third, ('CANCELLED',), 5)
        self.daemon.ctl('cancel', first)
        self.daemon.wait_state(first, ('CANCELLED',), 30)
        self.daemon.wait_state(second, ('SUCCEEDED',), 60)
        self.assertEqual(self.daemon.job(third)['state'], 'CANCELLED')

    def test_cancel_saves_and_resume_goes_on(self):
        job = self.submit('long', 'SOLVER.MAX_EPOCH', '4000', 'TEST.EVAL_PERIOD', '0')
        common.wait_for(lambda: self.daemon.job(job)['progress']['iteration'] > 5
                        if 'progress' in self.daemon.job(job) else False, 30, 'it trains')
        self.assertEqual(self.daemon.ctl('cancel', job).returncode, 0)
        self.daemon.wait_state(job, ('CANCELLED',), 30)
        self.assertNothingLeft(job)
        saved = (self.folder / 'long/last_checkpoint').read_text().strip()
        iteration = common.manifest(self.folder / 'long' / saved)['iteration']
        self.assertGreater(iteration, 5)
        again = self.submit('again', 'OUTPUT_DIR', str(self.folder / 'long'), 'SOLVER.MAX_EPOCH',
                            str(iteration // 6 + 2), 'TEST.EVAL_PERIOD', '0', options=['--resume'])
        self.daemon.wait_state(again, ('SUCCEEDED',), 60)
        self.assertEqual(self.daemon.rows(again)[0]['iteration'], iteration)

    @common.needs_mpi
    def test_killed_rank_fails_the_job_and_is_named(self):
        job = self.submit('victim', 'SOLVER.MAX_EPOCH', '4000', 'TEST.EVAL_PERIOD', '0')
        self.daemon.wait_state(job, ('RUNNING',), 30)
        common.wait_for(lambda: self.daemon.rows(job), 30, 'it trains')
        victim = next(p for p in self.daemon.rank_pids(job)
                      if b'OMPI_COMM_WORLD_RANK=1\0' in common.pathlib.Path(f'/proc/{p}/environ').read_bytes())
        os.kill(victim, signal.SIGKILL)
        failed = self.daemon.wait_state(job, ('FAILED',), 10)
        self.assertIn('rank 1', failed['failure']['sentence'])
        self.assertEqual((failed['failure']['rank'], failed['failure']['signal']), (1, 9))
        self.assertNothingLeft(job)
        self.assertEqual(self.daemon.ctl('wait', job).returncode, failed['exit_code'])
        self.assertNotEqual(failed['exit_code'], 0)

    def test_failing_job_tells_its_first_cause(self):
        job = self.submit('diverges', *common.DIVERGE)
        failed = self.daemon.wait_state(job, ('FAILED',), 60)
        self.assertRegex(failed['failure']['sentence'], r'Loss became infinite or NaN at iteration=\d+')
        self.assertNothingLeft(job)

    def test_job_outlives_its_daemon(self):
        job = self.submit('orphan', 'SOLVER.MAX_EPOCH', '4000', 'TEST.EVAL_PERIOD', '0')
        common.wait_for(lambda: len(self.daemon.rows(job)) > 3, 30, 'it trains')
        ranks = self.daemon.rank_pids(job)
        self.assertEqual(len(ranks), common.RANKS)
        self.daemon.kill()
        self.assertTrue(all(common.alive(p) for p in ranks))
        self.daemon.start()
        self.assertEqual(self.daemon.job(job)['state'], 'RUNNING')
        self.assertEqual(self.daemon.ctl('stop', job).returncode, 0)
        self.assertComplete(job, self.daemon.wait_state(job, ('SUCCEEDED',), 90)['progress']['iteration'])

    def test_job_that_ends_while_the_daemon_is_away(self):
        job = self.submit('alone', 'SOLVER.MAX_EPOCH', '8', 'TEST.EVAL_PERIOD', '0')
        common.wait_for(lambda: self.daemon.rows(job), 30, 'it trains')
        self.daemon.kill()
        common.wait_for(lambda: not common.processes_with(f'REIDD_JOB={job}'), 60, 'the job ends by itself')
        self.daemon.start()
        self.daemon.wait_state(job, ('SUCCEEDED',), 10)
        self.assertComplete(job, 48)

    def test_kill_of_everything_then_resume(self):
        options = ['OUTPUT_DIR', str(self.folder / 'all'), 'SOLVER.CHECKPOINT_PERIOD', '2', 'TEST.EVAL_PERIOD', '0', 'SOLVER.MAX_EPOCH']
        job = self.submit('all', *options, '4000')
        common.wait_for(lambda: (self.folder / 'all/last_checkpoint').exists(), 60, 'a checkpoint')
        self.daemon.kill()
        for pid in common.processes_with(str(self.folder)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.assertNothingLeft(job)
        self.daemon.start()
        self.assertIn('supervisor', self.daemon.wait_state(job, ('FAILED',), 15)['failure']['sentence'])
        saved = common.manifest(self.folder / 'all' / (self.folder / 'all/last_checkpoint').read_text().strip())['iteration']
        again = self.submit('again', *options, saved // 6 + 1, options=['--resume'])
        self.daemon.wait_state(again, ('SUCCEEDED',), 90)
        first = self.daemon.rows(again)[0]['iteration']
        self.assertGreaterEqual(first, 12)
        self.assertIn(first, [r['iteration'] + 1 for r in self.daemon.rows(job)])  # no scalar before it was lost

    def test_watching_detaches_without_harm(self):
        job = self.submit('watched', 'SOLVER.MAX_EPOCH', '4000', 'TEST.EVAL_PERIOD', '0')
        watch = subprocess.Popen([str(common.BIN / 'reidctl'), '-H', f'unix:{self.daemon.socket}', 'watch', job],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn(job, watch.stdout.readline())
        self.daemon.wait_state(job, ('RUNNING',), 30)
        watch.send_signal(signal.SIGINT)
        self.assertIn('detached', watch.communicate(timeout=10 * common.PATIENCE)[1])
        self.assertEqual(watch.returncode, 130)
        self.assertEqual(self.daemon.job(job)['state'], 'RUNNING')


if __name__ == '__main__':
    common.main()
