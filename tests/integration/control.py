#!/usr/bin/python3
"""Control words on real jobs: agreed iterations, the journal, pause and resume, the same bits after interruptions."""
import contextlib
import json
import os
import signal

import common

QUIET = ['SOLVER.BASE_LR', '0.00035', 'SOLVER.WARMUP_ITERS', '0', 'SOLVER.SCHED', 'MultiStepLR', 'SOLVER.STEPS', '[1000]',
         'TEST.EVAL_PERIOD', '0']
# 90 iterations, the first 40 of them warm-up; images are mirrored, and erased now and then.
BITS = [*QUIET, 'INPUT.FLIP.ENABLED', 'True', 'INPUT.REA.ENABLED', 'True', 'SOLVER.MAX_EPOCH', '15', 'SOLVER.CHECKPOINT_PERIOD', '2', 'SOLVER.WARMUP_ITERS', '40']


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Control(common.Case):
    slots = 2

    def setUp(self):
        self.daemon = common.Daemon(self.folder / self.id().rsplit('.', 1)[1][:24], '--slots', str(self.slots))

    def tearDown(self):
        for job in json.loads(self.daemon.ctl('ps', '-o', 'json').stdout or '[]'):
            self.daemon.ctl('cancel', '--grace', '1', job['id'])
            self.daemon.wait_state(job['id'], ('CANCELLED', 'FAILED', 'SUCCEEDED'), 20)
        self.daemon.stop()

    def submit(self, name, *more, ranks=2, options=()):
        done = self.daemon.ctl('submit', '--name', name, '-n', ranks, *options, common.CONFIG,
                               *self.overrides(name, *more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def ask(self, *words):
        """A word that is agreed on; its entries in the journal."""
        return self.ask_all(words)

    def ask_all(self, *all_words):
        done = self.daemon.ctl_at_once(*[[*words, '-o', 'json'] for words in all_words])
        self.assertEqual({d.returncode for d in done}, {0}, [d.stderr for d in done])
        return [json.loads(line) for d in done for line in d.stdout.splitlines()]

    def refused(self, code, text, *words):
        done = self.daemon.ctl(*words)
        self.assertEqual((done.returncode, done.stdout), (code, ''), done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def audit(self, job):
        done = self.daemon.ctl('audit', job, '--verify', '-o', 'json')
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def rates(self, job):
        return {r['iteration']: r['metrics']['lr'] for r in self.daemon.rows(job) if 'lr' in r['metrics']}

    def set_bits_words(self, job, *more):
        """The interventions of the runs whose bits are compared."""
        self.ask_all(*[['set', job, *words] for words in (
            ['lr=1e-4', '--at-iter', '20'], ['weight_decay=0.01', 'tri_scale=0.5', '--at-iter', '26'],
            ['flip_prob=0.9', 'rea_prob=0.1', '--at-iter', '27'],
            ['lr_factor=2', 'margin=0.5', '--at-iter', '38'], ['flip_prob=0', '--at-iter', '41'])], *more)

    def check_set(self, ranks):
        job = self.submit('set', *QUIET, 'SOLVER.MAX_EPOCH', '16', ranks=ranks)
        entry, soon = self.ask_all(['set', job, 'lr=1.5e-4', '--at-iter', '84', '--reason', 'too fast'], ['set', job, 'weight_decay=0.001'])
        self.assertEqual((entry['kind'], entry['name'], entry['old'], entry['new'], entry['iteration'], entry['reason']),
                         ('set', 'lr', '0.00035', '0.00015', 84, 'too fast'))
        self.assertLess(soon['iteration'], 84)
        self.daemon.wait_state(job, ('SUCCEEDED',), 120)
        for iteration, lr in self.rates(job).items():
            self.assertEqual(lr, 0.00015 if iteration >= 84 else 0.00035, iteration)
        self.assertEqual([e['seq'] for e in self.audit(job)], [1, 2])

    def test_set_takes_effect_at_the_agreed_iteration(self):
        self.check_set(2)

    def test_bad_requests_are_one_sentence(self):
        job = self.submit('bad', *QUIET, 'SOLVER.MAX_EPOCH', '20000')
        self.refused(2, 'there is no knob', 'set', job, 'rate=1')
        self.refused(2, 'above 0', 'set', job, 'lr=-1')
        self.refused(2, 'number', 'set', job, 'lr=fast')
        self.refused(2, 'NAME=VALUE', 'set', job, 'lr')
        self.refused(5, 'CLIP_GRADIENTS', 'set', job, 'clip=1')
        self.refused(5, 'INPUT.REA.ENABLED is False', 'set', job, 'rea_prob=0.5')
        self.refused(2, 'at most 1', 'set', job, 'flip_prob=1.5')
        self.refused(5, 'will not come', 'set', job, 'lr=1', '--at-iter', '1000000')
        common.wait_for(lambda: len(self.daemon.rows(job)) > 5, 30, 'it trains')
        self.refused(5, 'already past', 'set', job, 'lr=1', '--at-iter', '2')
        self.refused(2, 'there is no knob', 'set', job, 'lr=1e-5', 'rate=1')
        self.assertEqual(self.audit(job), [])  # all or nothing
        self.refused(4, 'no job', 'set', 'nobody', 'lr=1')
        self.refused(5, 'RUNNING', 'resume', job)
        waiting = self.submit('waiting', 'SOLVER.MAX_EPOCH', '1')
        self.refused(5, 'PENDING', 'pause', waiting)
        entry, = self.ask('stop', job, '--reason', 'enough')
        done = self.daemon.wait_state(job, ('SUCCEEDED',), 30)
        self.assertEqual((done['exit_code'], done['progress']['iteration']), (0, entry['iteration']))
        self.assertIn('stopped after iteration', done['detail'])
        saved = (self.folder / 'bad/last_checkpoint').read_text().strip()
        self.assertEqual(common.manifest(self.folder / 'bad' / saved)['iteration'], entry['iteration'])
        self.refused(5, 'SUCCEEDED', 'checkpoint', job)

    def test_checkpoint_and_evaluation_now(self):
        job = self.submit('now', *QUIET, 'SOLVER.MAX_EPOCH', '20000')
        saved, = self.ask('checkpoint', job)
        common.wait_for(lambda: (self.folder / f'now/model_iter_{saved["iteration"]:07d}/manifest.json').exists(), 20,
                        'the checkpoint is there')
        self.ask('evaluate', job)
        common.wait_for(lambda: 'mAP' in self.daemon.job(job)['latest'], 30, 'evaluated')
        self.assertEqual(self.daemon.job(job)['state'], 'RUNNING')

    def check_profile(self, rank):
        trace = json.loads((self.folder / f'profile/profile_iter_0000009.rank{rank}.json').read_text())
        spans = [e for e in trace['traceEvents'] if e['ph'] == 'X']
        self.assertEqual({(e['pid'], trace['otherData']['steps']) for e in spans}, {(rank, 5)})
        self.assertEqual([e['name'] for e in spans if e['cat'] == 'iteration'],
                         [f'iteration {i}' for i in range(9, 14)])

        def total(begin, end, *categories, name=None):
            return sum(e['dur'] for e in spans if e['cat'] in categories and begin <= e['ts'] < end and
                       name in (None, e['name']))

        share = []  # of forward and backward passes: what no part of the step has; what calls have
        for step in (e for e in spans if e['name'] == 'step'):
            begin, end = step['ts'], step['ts'] + step['dur']
            part = {n: total(begin, end, 'step', name=n)
                    for n in ('data', 'forward', 'backward', 'metrics', 'update', 'wait for gradients')}
            calls = {n: total(begin, end, n) for n in ('forward', 'backward')}
            waited = part.pop('wait for gradients')
            self.assertLessEqual(sum(part.values()), step['dur'] + 1)
            self.assertTrue(0 < calls['forward'] <= part['forward'] + 1, (calls, part))
            self.assertTrue(0 < calls['backward'] + waited <= part['backward'] + 1, (calls, waited, part))
            self.assertGreater(total(begin, end, 'all_reduce'), 0)
            passes = part['forward'] + part['backward']
            share.append(((step['dur'] - sum(part.values())) / passes, (sum(calls.values()) + waited) / passes))
        # In a step during which the machine did nothing else.
        self.assertLess(min(rest for rest, _ in share), 0.2, share)
        self.assertGreater(max(inner for _, inner in share), 0.5, share)  # the rest: taking in the images
        names = {e['name'] for e in spans}
        self.assertTrue({'evaluation', 'checkpoint', 'EvalHook.after_epoch', 'IterationTimer.after_step'} <=
                        names | ({'checkpoint'} if rank else set()), names)

    def test_profile_of_the_next_steps_changes_nothing(self):
        options = [*QUIET, 'SOLVER.MAX_EPOCH', '3', 'SOLVER.CHECKPOINT_PERIOD', '1', 'TEST.EVAL_PERIOD', '2']
        job = self.submit('profile', *options)
        entry, = self.ask('profile', job, '--steps', '5', '--at-iter', '9')
        self.assertEqual((entry['kind'], entry['name'], entry['new'], entry['iteration']), ('profile', 'steps', '5', 9))
        self.refused(2, '10000', 'profile', job, '--steps', '100000')
        self.daemon.wait_state(job, ('SUCCEEDED',), 60)
        for rank in range(2):
            self.check_profile(rank)
        self.train('unprofiled', *options, ranks=2)
        self.assertEqual(common.bits(self.folder / 'profile/model_final'), common.bits(self.folder / 'unprofiled/model_final'))

    def test_same_bits_after_pause_and_after_kill(self):
        whole = self.submit('whole', *BITS)
        self.set_bits_words(whole)
        self.daemon.wait_state(whole, ('SUCCEEDED',), 120)
        expected = common.bits(self.folder / 'whole/model_final')
        self.assertEqual(self.rates(whole)[20], 1e-4)
        self.assertNotIn(1e-4, [lr for i, lr in self.rates(whole).items() if i != 20])  # the warm-up goes on

        paused = self.submit('paused', *BITS)
        self.set_bits_words(paused, ['pause', paused, '--at-iter', '29'])
        now = self.daemon.wait_state(paused, ('PAUSED',), 60)
        self.assertEqual(now['progress']['iteration'], 29)
        self.assertIn('29', now['detail'])
        common.wait_for(lambda: not common.processes_with(f'REIDD_JOB={paused}'), 10, 'its memory is free')
        other = self.submit('other', *QUIET, 'SOLVER.MAX_EPOCH', '1')
        self.daemon.wait_state(other, ('SUCCEEDED',), 60)
        self.daemon.kill()  # a paused job is remembered
        self.daemon.start()
        self.assertEqual(self.daemon.job(paused)['state'], 'PAUSED')
        self.assertEqual(self.daemon.ctl('resume', paused).returncode, 0)
        done = self.daemon.wait_state(paused, ('SUCCEEDED',), 120)
        self.assertEqual(done['attempt'], 2)
        rows = [r['iteration'] for r in self.daemon.rows(paused) if 'total_loss' in r['metrics']]
        self.assertEqual(rows, list(range(90)))
        self.assertEqual(self.rates(paused), self.rates(whole))
        self.assertEqual(common.bits(self.folder / 'paused/model_final'), expected)
        self.assertEqual(len(self.audit(paused)), 9)

        for name in ('killed', 'cancelled'):
            self.check_interrupted(name, expected)
        self.check_restarted(expected)

    def interrupt(self, name, stop, *more, **options):
        """A job to which stop(its ranks, it) happens while it trains; its name and id. When it was faster than the test, another one."""
        for attempt in range(10):
            job = self.submit(f'{name}{attempt}', *BITS, *more, **options)
            self.set_bits_words(job)
            common.wait_for(lambda: (self.folder / f'{name}{attempt}/model_0003').exists(), 60, 'it trains')
            stop(self.daemon.rank_pids(job), job)
            done = self.daemon.wait_state(job, ('FAILED', 'CANCELLED', 'SUCCEEDED'), 120)
            if done['state'] != 'SUCCEEDED' or done['attempt'] > 1:
                return f'{name}{attempt}', job
        raise AssertionError('every job was faster')

    def check_interrupted(self, name, expected):
        """Every rank is killed, or all are asked to end; another job goes on from what is saved."""
        def stop(pids, job):
            if name == 'killed':
                for pid in pids:
                    kill(pid)
            else:
                self.daemon.ctl('cancel', job)

        name, job = self.interrupt(name, stop)
        again = self.submit(f'{name}-again', *BITS, 'OUTPUT_DIR', str(self.folder / name), options=['--resume'])
        self.daemon.wait_state(again, ('SUCCEEDED',), 120)
        self.assertGreater(self.daemon.rows(again)[0]['iteration'], 20)  # what was set then is state
        self.assertEqual(common.bits(self.folder / name / 'model_final'), expected)

    def check_restarted(self, expected):
        """One rank is killed; the job goes on by itself."""
        name, job = self.interrupt('restarted', lambda pids, _: [kill(pid) for pid in pids[-1:]],
                                   options=['--max-restarts', '2', '--restart-backoff', '0.2'])
        done = self.daemon.job(job)
        self.assertEqual((done['state'], done['attempt'], done['restarts'], done['max_restarts']), ('SUCCEEDED', 2, 1, 2))
        rows = self.daemon.rows(job)
        self.assertGreater(next(r['iteration'] for r in rows if r['attempt'] == 2), 20)
        self.assertEqual([r['seq'] for r in rows if r['attempt'] == 2][:3], [1, 2, 3])
        self.assertEqual(common.bits(self.folder / name / 'model_final'), expected)
        self.assertEqual(len(self.audit(job)), 8)
        events = self.daemon.ctl('events', job).stdout
        self.assertRegex(events, r' restart +in 0\.2 s \(1 of 2\) from the last checkpoint: rank \d was killed by signal 9')
        self.assertRegex(self.daemon.ctl('describe', job).stdout, r'Restarts +1 of 2\n')

    def test_restart_from_the_beginning(self):
        """Nothing is saved yet: the words went with the attempt, and its journal is put aside."""
        job = self.submit('early', *QUIET, 'SOLVER.MAX_EPOCH', '4000', 'SOLVER.CHECKPOINT_PERIOD', '4000',
                          options=['--max-restarts', '1', '--restart-backoff', '0.2'])
        self.ask('set', job, 'lr=1e-4', '--at-iter', '8')
        common.wait_for(lambda: len(self.daemon.rows(job)) > 10, 60, 'it trains')
        os.kill(self.daemon.rank_pids(job)[0], signal.SIGKILL)
        common.wait_for(lambda: self.daemon.rows(job)[-1]['attempt'] == 2, 60, 'it trains again')
        self.assertEqual(next(r['iteration'] for r in self.daemon.rows(job) if r['attempt'] == 2), 0)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.audit(job), [])
        self.ask('set', job, 'lr=2e-4')
        self.assertEqual([e['new'] for e in self.audit(job)], ['0.0002'])
        self.assertTrue((self.folder / 'early/journal.1.jsonl').exists())
        os.kill(self.daemon.rank_pids(job)[0], signal.SIGKILL)  # the last attempt
        failed = self.daemon.wait_state(job, ('FAILED',), 30)
        self.assertEqual((failed['attempt'], failed['failure']['signal']), (2, 9))

    def test_acknowledged_words_survive_the_daemon(self):
        job = self.submit('kept', *QUIET, 'SOLVER.MAX_EPOCH', '4000')
        self.ask('set', job, 'lr=0.0002', '--at-iter', '30')
        for _ in range(2):
            self.daemon.kill()
            self.daemon.start()
        self.assertEqual([e['new'] for e in self.audit(job)], ['0.0002'])
        common.wait_for(lambda: max(self.rates(job), default=0) > 33, 60, 'it trains')
        self.assertEqual({lr for i, lr in self.rates(job).items() if i >= 30}, {0.0002})

    def test_tampering_is_told_with_the_line(self):
        job = self.submit('tamper', *QUIET, 'SOLVER.MAX_EPOCH', '20000')
        for lr in ('1e-4', '2e-4', '3e-4'):
            self.ask('set', job, f'lr={lr}')
        path = self.folder / 'tamper/journal.jsonl'
        lines = path.read_text().splitlines(keepends=True)
        cases = [(lines[:1] + [lines[1].replace('0.0002', '0.0009')] + lines[2:], 'line 2 has been changed'),
                 (lines[:1] + lines[2:], 'line 2 does not follow'),
                 (lines[:2], 'line 3 is missing'),
                 ([], 'line 1 is missing')]
        for text, sentence in cases:
            path.write_text(''.join(text))
            done = self.daemon.ctl('audit', job, '--verify')
            self.assertEqual(done.returncode, 1)
            self.assertIn(sentence, done.stderr)
        path.write_text(''.join(lines))
        self.assertEqual(len(self.audit(job)), 3)


class FourRanks(Control):
    slots = 4

    def test_set_takes_effect_at_the_agreed_iteration(self):
        self.check_set(4)


def load_tests(loader, standard, pattern):
    """Of four ranks only the one case."""
    suite = common.unittest.TestSuite()
    suite.addTests(loader.loadTestsFromTestCase(Control))
    suite.addTest(FourRanks('test_set_takes_effect_at_the_agreed_iteration'))
    return suite


if __name__ == '__main__':
    common.main()
