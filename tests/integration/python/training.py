#!/usr/bin/python3
"""The Python client with a real reidd and real jobs: submit, metrics, control words, hooks, the examples."""
import logging
import os
import subprocess
import threading
import time

import support
import common
import reidd

QUIET = {'SOLVER.BASE_LR': 0.00035, 'SOLVER.WARMUP_ITERS': 0, 'SOLVER.SCHED': 'MultiStepLR', 'SOLVER.STEPS': [1000],
         'TEST.EVAL_PERIOD': 0}
ENDLESS = {'SOLVER.MAX_EPOCH': 20000}  # of 6 iterations each
SECONDS = 150 * common.PATIENCE


class Case(common.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        logging.getLogger('reidd').setLevel(logging.CRITICAL + 1)
        cls.daemon = common.Daemon(cls.folder / 'state', '--slots', '2')
        cls.connection = reidd.connect(cls.daemon.socket)

    @classmethod
    def tearDownClass(cls):
        cls.connection.close()
        cls.daemon.stop()
        super().tearDownClass()

    def tearDown(self):
        for job in self.connection.jobs():
            if not job.ended:
                job.cancel(grace=1)
                job.wait(SECONDS)

    def submit(self, name, more=None, ranks=common.RANKS):
        small = dict(zip(common.SMALL[::2], common.SMALL[1::2]))
        return self.connection.submit(common.CONFIG, ranks, name=name, overrides={
            **small, 'DATASETS.ROOT': str(self.data), 'OUTPUT_DIR': str(self.folder / name), **QUIET, 'SOLVER.MAX_EPOCH': 3, **(more or {})})

    def until(self, condition, what):
        return common.wait_for(condition, 150, what)

    def rates(self, job):
        return {m.iteration: m['lr'] for m in job.metrics(names='lr')}

    def example(self, name, *words):
        return subprocess.Popen(['/usr/bin/python3', '-B', str(support.EXAMPLES / name), *map(str, words)], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True,
                                env={**os.environ, 'PYTHONPATH': str(support.PACKAGE), 'REIDD_HOST': str(self.daemon.socket)})


class Jobs(Case):
    def test_submit_gives_what_reidctl_gives(self):
        """Bases, overrides, types, paths: the same configuration to the last line."""
        overrides = ['SOLVER.BASE_LR', '1e-4', 'SOLVER.STEPS', '[3, 7]', 'DATASETS.NAMES', '("Market1501",)', 'INPUT.SIZE_TRAIN', '[32, 64]']
        def dry(*args, text=None):
            done = subprocess.run([str(common.BIN / 'reidctl'), 'submit', '--dry-run', *args], input=text, text=True, capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout
        expected = dry(str(common.CONFIG), *overrides)
        from reidd import _config
        self.assertEqual(dry('-', text=_config.resolve(common.CONFIG, overrides)), expected)
        self.assertEqual(dry('-', text=_config.resolve(common.CONFIG, {
            'SOLVER': {'BASE_LR': 1e-4, 'STEPS': (3, 7)}, 'DATASETS.NAMES': ('Market1501',), 'INPUT.SIZE_TRAIN': [32, 64]})), expected)

    def test_a_job_from_submit_to_its_end(self):
        job = self.submit('whole', {'TEST.EVAL_PERIOD': 3})
        rows = list(job.metrics(follow=True))
        self.assertEqual([m.seq for m in rows], list(range(1, len(rows) + 1)))
        self.assertEqual([m.iteration for m in rows if 'total_loss' in m], list(range(18)))
        self.assertEqual(job.wait(SECONDS, check=True).exit_code, 0)
        self.assertEqual((job.state, job.progress.iteration, job.ranks), ('SUCCEEDED', 18, common.RANKS))
        self.assertIn('mAP', job.latest)
        lines = list(job.logs(ranks=0))
        self.assertTrue(any('training set' in line.text for line in lines))
        self.assertIn('SUCCEEDED', [e.detail.split()[0] for e in job.events() if e.kind == 'state'])
        self.assertEqual(self.connection.job(job.id[:6]).id, job.id)
        waits = self.connection.submit_text(job.config, 1, hold=True, after=[f'{job.id}:any'], name='waits')
        with self.assertRaises(reidd.FailedPrecondition):
            waits.remove()
        waits.cancel()
        self.assertEqual((job.remove().state, waits.remove().state), ('SUCCEEDED', 'CANCELLED'))
        for gone in (job.id, waits.id, 'nobody'):
            with self.assertRaises(reidd.NotFound):
                self.connection.job(gone)
        with self.assertRaises(reidd.InvalidArgument) as caught:
            self.connection.submit({'SOLVER': {'LRR': 1}})
        self.assertIn('LRR', str(caught.exception))
        self.assertEqual(self.connection.info().slots, 2)

    def test_metrics_go_on_when_reidd_is_killed(self):
        job = self.submit('kept', {'SOLVER.MAX_EPOCH': 25}, ranks=1)
        rows = []

        def follow():
            with reidd.connect(self.daemon.socket) as connection:
                rows.extend(connection.job(job.id).metrics(follow=True))

        reader = threading.Thread(target=follow)
        reader.start()
        stream = job.metrics(follow=True)
        for m in stream:
            if m.iteration in (20, 60):
                self.daemon.kill()
                self.daemon.start()
        reader.join(SECONDS)
        self.assertEqual(job.wait(SECONDS).state, 'SUCCEEDED')
        self.assertEqual([m.iteration for m in rows if 'total_loss' in m], list(range(150)))
        self.assertEqual([m.seq for m in rows], list(range(1, len(rows) + 1)))
        self.assertEqual(stream.cursor, (1, rows[-1].seq))

    def test_words(self):
        job = self.submit('words', ENDLESS)
        job.set(lr=1.5e-4, at_iter=30, reason='too fast')
        self.until(lambda: job.refresh().progress.iteration > 32, 'it trains')
        self.assertEqual([(e.name, e.new, e.iteration, e.reason) for e in job.audit()], [('lr', '0.00015', 30, 'too fast')])
        for iteration, lr in self.rates(job).items():
            self.assertEqual(lr, 1.5e-4 if iteration >= 30 else 3.5e-4)
        with self.assertRaises(reidd.InvalidArgument):
            job.set(rate=1)
        with self.assertRaises(reidd.FailedPrecondition):
            job.set(lr=1, at_iter=2)
        paused = job.pause(reason='lunch')
        self.until(lambda: job.refresh().state == 'PAUSED', 'it pauses')
        self.assertEqual(job.progress.iteration, paused.iteration)
        self.assertFalse(job.resume().ended)
        self.until(lambda: job.refresh().progress.iteration > paused.iteration, 'it goes on')
        skipped = job.skip_step()
        traced = job.profile(2)
        self.until(lambda: job.refresh().progress.iteration > traced.iteration + 3, 'it goes on')
        self.assertNotIn(skipped.iteration, [m.iteration for m in job.metrics(names=['total_loss']) if m])
        stopped = job.stop()
        self.assertEqual((job.wait(SECONDS).state, job.progress.iteration), ('SUCCEEDED', stopped.iteration))
        self.assertTrue(job.audit().sound)

    def test_fork(self):
        job = self.submit('parent', {'SOLVER.MAX_EPOCH': 4, 'SOLVER.CHECKPOINT_PERIOD': 1}, ranks=1)
        job.wait(SECONDS, check=True)
        child = job.fork(9, {'SOLVER.BASE_LR': 1e-5}, name='child')
        child.wait(SECONDS, check=True)
        self.assertEqual(child.output_dir, f'{job.output_dir}-fork-9')
        rates = self.rates(child)
        self.assertEqual({i: lr for i, lr in rates.items() if i >= 9}, {i: 1e-5 for i in range(9, 24)})


class Seen(reidd.HookBase):
    """Notes every point; acts by a function."""

    def __init__(self, act=lambda trainer: None):
        self.places = []
        self.act = act

    def note(self):
        self.places.append((self.trainer.point, self.trainer.iter))
        self.act(self.trainer)

    before_train = after_train = before_epoch = after_epoch = before_step = after_step = note


class Steps(reidd.HookBase):
    """Acts after steps."""

    def __init__(self, act):
        self.iterations = []
        self.act = act

    def after_step(self):
        self.iterations.append(self.trainer.iter)
        self.act(self.trainer)


def boom(trainer):
    raise RuntimeError('a hook of mine has had enough')


class Hooks(Case):
    def test_a_hook_registered_in_the_queue_sees_everything(self):
        first = self.submit('first', ENDLESS, ranks=2 if common.RANKS == 2 else 1)
        others = [self.submit(f'other{i}', ENDLESS) for i in range(2 - common.RANKS)]
        job = self.submit('queued', {'SOLVER.MAX_EPOCH': 2})
        self.assertEqual(job.state, 'PENDING')
        storage = {}
        hook = Seen(lambda t: storage.update({(t.point, t.iter): (t.storage.latest(), t.epoch, t.max_iter, t.max_epoch, t.lr)}))
        handle = job.register_hook(hook)
        self.assertFalse(handle.enabled)
        for other in [first, *others]:
            other.cancel(grace=1)
        self.assertTrue(handle.wait(SECONDS))
        expected = [('before_train', 0)]
        for epoch in range(2):
            done = 6 * epoch
            expected.append(('before_epoch', done))
            for i in range(done, done + 6):
                expected += [('before_step', i), ('after_step', i)]
            expected.append(('after_epoch', done + 6))
        self.assertEqual(hook.places, [*expected, ('after_train', 12)])
        latest, *rest = storage['after_step', 7]
        self.assertEqual(rest, [1, 12, 2, 3.5e-4])
        row = next(m for m in job.metrics() if m.iteration == 7 and 'total_loss' in m)
        self.assertEqual(latest['total_loss'], (row['total_loss'], 7))
        self.assertEqual((hook.trainer.start_iter, handle.error), (0, None))

    def test_iteration_time(self):
        job = self.submit('time', ENDLESS)
        example = self.example('iteration_time.py', job.id)
        seen = [example.stdout.readline() for _ in range(20)]
        job.stop()
        rest, _ = example.communicate(timeout=SECONDS)
        self.assertEqual(example.returncode, 0, rest)
        lines = [line.replace(':', '').split() for line in seen + rest.splitlines()]
        first = int(lines[0][1])
        self.assertEqual([int(w[1]) for w in lines], list(range(first, first + len(lines))))
        self.assertTrue(all(w[0] == 'iteration' and w[3] == 's' and 0 < float(w[2]) < SECONDS for w in lines), lines)
        job.wait(SECONDS, check=True)

    def test_lr_milestones(self):
        """Two ranks: the column lr changes at the very iterations, and the ranks stay equal."""
        job = self.submit('milestones', ENDLESS)
        self.until(lambda: job.refresh().state == 'RUNNING', 'it runs')
        one = job.progress.iteration + 160
        two = one + 9
        example = self.example('lr_milestones.py', job.id, one, two)
        job.stop(at_iter=two + 5)
        job.wait(SECONDS, check=True)
        output, _ = example.communicate(timeout=SECONDS)
        self.assertEqual((example.returncode, len(output.splitlines())), (0, 2), output)
        rates = self.rates(job)
        self.assertEqual(sorted(rates), list(range(two + 5)))
        for iteration, lr in rates.items():
            self.assertAlmostEqual(lr, 3.5e-4 * (1 if iteration < one else 0.1 if iteration < two else 0.01), delta=1e-15)
        self.assertEqual([(e.iteration, e.name) for e in job.audit() if e.kind == 'set'], [(one, 'lr'), (two, 'lr')])
        self.assertIn('Milestones', [e.who for e in job.audit() if e.kind == 'set'][0])

    def test_watch_example(self):
        example = self.example('watch.py', common.CONFIG, *self.overrides('watched', 'SOLVER.MAX_EPOCH', '2', 'TEST.EVAL_PERIOD', '2'))
        output, _ = example.communicate(timeout=SECONDS)
        self.assertEqual(example.returncode, 0, output)
        self.assertIn('epoch 1 iteration 11: ', output)
        self.assertIn('mAP=', output)

    def test_an_exception_is_ignored(self):
        job = self.submit('ignored', ENDLESS, ranks=1)
        hook = Steps(boom)
        handle = job.register_hook(hook, on_error='ignore')
        self.until(lambda: len(hook.iterations) >= 5, 'it is called on')
        self.assertTrue(handle.enabled)
        self.assertIsInstance(handle.error, RuntimeError)
        info, = [h for h in job.hooks() if h.id == handle.id]
        self.assertIn('had enough', info.last_error)
        self.assertFalse(job.refresh().ended)

    def test_an_exception_disables(self):
        job = self.submit('disabled', ENDLESS, ranks=1)
        hook = Steps(boom)
        handle = job.register_hook(hook, every=2)
        self.until(lambda: handle.notice, 'it is told')
        self.assertIn('had enough', handle.notice)
        self.assertFalse(handle.enabled)
        now = job.refresh().progress.iteration
        self.until(lambda: job.refresh().progress.iteration > now + 5, 'the job goes on')
        self.assertEqual(len(hook.iterations), 1)
        self.assertEqual(hook.iterations[0] % 2, 1)
        self.assertTrue([e for e in job.events() if e.kind == 'hook' and 'had enough' in e.detail])
        hook.act = lambda trainer: None
        job.enable_hook(handle)
        self.until(lambda: len(hook.iterations) > 3 and handle.enabled, 'it is called again')
        handle.remove()
        self.assertNotIn(handle.id, [h.id for h in job.hooks() if h.state != 'REMOVED'])

    def test_an_exception_fails_the_job(self):
        job = self.submit('failed', ENDLESS, ranks=1)
        handle = job.register_hook(Steps(boom), name='strict', on_error='fail')
        self.assertEqual(job.wait(SECONDS).state, 'FAILED')
        self.assertIn('strict', job.failure.sentence)
        self.assertIn('RuntimeError: a hook of mine has had enough', job.failure.sentence)
        self.assertEqual(job.failure.signal, 0)  # its rank has ended by itself
        self.assertTrue(handle.wait(SECONDS))

    def test_a_late_hook(self):
        job = self.submit('late', ENDLESS, ranks=1)
        slow = Steps(lambda trainer: time.sleep(1))
        handle = job.register_hook(slow, deadline=0.1, on_late='disable')
        self.until(lambda: handle.notice and not handle.enabled, 'it is disabled')
        self.assertIn('0.1 s', handle.notice)
        self.assertFalse(job.refresh().ended)

    def test_asynchronous(self):
        job = self.submit('async', ENDLESS, ranks=1)
        hook = Steps(lambda trainer: (time.sleep(0.05), trainer.set(weight_decay=0.001) if len(hook.iterations) == 3 else None))
        handle = job.register_hook(hook, asynchronous=True, every=5, scalars=['total_*'])
        self.until(lambda: len(hook.iterations) >= 6, 'it is called')
        self.until(lambda: [e for e in job.audit() if e.name == 'weight_decay'], 'its wish is fulfilled')
        self.assertTrue(all(i % 5 == 4 for i in hook.iterations), hook.iterations)
        self.assertEqual(set(hook.trainer.storage.latest()), {'total_loss'})
        self.assertTrue(next(h for h in job.hooks() if h.id == handle.id).asynchronous)
        handle.remove()

    def test_put_scalar_and_a_predicate(self):
        job = self.submit('put', {'SOLVER.MAX_EPOCH': 20}, ranks=1)

        def act(trainer):
            trainer.storage.put_scalar('twice', 2 * trainer.storage.history('total_loss').latest())

        hook = Steps(act)
        job.register_hook(hook, when='iter >= 60 and total_loss > 0').wait(SECONDS)
        job.wait(SECONDS, check=True)
        losses = {m.iteration: m['total_loss'] for m in job.metrics() if 'total_loss' in m}
        put = {m.iteration: m['twice'] for m in job.metrics() if 'twice' in m}
        self.assertEqual(hook.iterations, list(range(60, 120)))
        self.assertEqual(put, {i: 2 * losses[i] for i in range(60, 120)})

    def test_wishes_of_a_hook(self):
        job = self.submit('wishes', ENDLESS)
        places = {}

        class Wishes(reidd.HookBase):
            def before_step(self):
                base = places.setdefault('base', self.trainer.iter)
                if self.trainer.iter == base + 2:
                    self.trainer.skip_step()
                if self.trainer.iter == base + 4:
                    self.trainer.lr = 2e-4
                if self.trainer.iter == base + 8:
                    self.trainer.checkpoint()

            def after_step(self):
                if self.trainer.iter == places['base'] + 12:
                    self.trainer.stop('seen enough')

        with job.register_hook(Wishes()) as handle:
            self.assertTrue(handle.wait(SECONDS))
        job.wait(SECONDS, check=True)
        base = places['base']
        self.assertEqual(job.progress.iteration, base + 13)
        rates = self.rates(job)
        self.assertEqual([rates[base + i] for i in (3, 4, 12)], [3.5e-4, 2e-4, 2e-4])
        self.assertNotIn(base + 2, [m.iteration for m in job.metrics() if 'total_loss' in m])
        self.assertEqual([(e.kind, e.iteration) for e in job.audit() if e.kind not in ('hook_add', 'hook_remove')],
                         [('skip_step', base + 2), ('set', base + 4), ('checkpoint', base + 9), ('stop', base + 13)])

    def test_hooks_of_all_kinds(self):
        job = self.submit('kinds', ENDLESS, ranks=1)
        lua = job.add_lua('function after_step()\n  trainer.storage:put("from_lua", trainer.iter)\nend\n', name='counter')
        with self.assertRaises(reidd.InvalidArgument):
            job.add_lua('function after_step(\n')
        with self.assertRaises(reidd.InvalidArgument):
            job.register_hook(Steps(boom), when='total_loss >').id
        builtin = job.add_builtin('PeriodicCheckpointer', period=50)
        with job.register_hook(Steps(lambda trainer: None), name='mine') as handle:
            self.until(lambda: handle.id in [h.id for h in job.hooks()], 'the rank lists it')
            rows = [h for h in job.hooks() if h.id]
            self.assertEqual([(h.id, h.name, h.kind) for h in rows][:1] + [(h.id, h.kind) for h in rows][1:],
                             [(lua.hook, 'counter', 'lua'), (builtin.hook, 'builtin'), (handle.id, 'remote')])
        self.until(lambda: 'from_lua' in job.refresh().latest, 'the script puts')
        job.disable_hook('counter')
        self.until(lambda: [h.state for h in job.hooks() if h.id == lua.hook] == ['DISABLED'], 'the list says so')
        job.remove_hook(lua.hook, reason='done')
        with self.assertRaises(reidd.NotFound):
            job.remove_hook(lua.hook)

    def test_a_pause_ends_a_hook_and_it_comes_again(self):
        job = self.submit('paused', ENDLESS, ranks=1)
        hook = Steps(lambda trainer: None)
        handle = job.register_hook(hook)
        handle.id
        job.pause()
        self.assertTrue(handle.wait(SECONDS))
        self.assertIn('PAUSED', handle.notice)
        self.until(lambda: job.refresh().state == 'PAUSED', 'it pauses')
        seen = len(hook.iterations)
        again = job.register_hook(hook)  # it waits with the job
        job.resume()
        again.wait_attached(SECONDS)
        self.until(lambda: len(hook.iterations) > seen + 3, 'it is called')
        first = next(e.iteration for e in job.audit() if e.kind == 'pause')
        self.assertEqual(hook.iterations[seen:seen + 3], [first + i for i in range(3)])
        again.remove()

    def test_a_killed_reidd_loses_hooks_and_says_so(self):
        job = self.submit('lost', ENDLESS, ranks=1)
        handle = job.register_hook(Steps(lambda trainer: None))
        handle.id
        self.daemon.kill()
        with self.assertRaises(reidd.Unavailable):
            handle.wait(SECONDS)
        self.daemon.start()
        now = self.until(lambda: job.refresh(), 'reidd is back').progress.iteration
        self.until(lambda: job.refresh().progress.iteration > now + 3, 'the job goes on')


if __name__ == '__main__':
    common.main()
