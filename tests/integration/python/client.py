#!/usr/bin/python3
"""The Python client against a daemon that the test plays."""
import json
import logging
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import support  # noqa: F401
import fake
import grpc
import reidd
from fake import Fake, Training, pb
from reidd import _address, _config


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        logging.getLogger('reidd').setLevel(logging.CRITICAL + 1)

    def play(self, **answers):
        daemon = Fake(self.folder, **answers)
        self.addCleanup(daemon.stop)
        connection = reidd.connect(daemon.address)
        self.addCleanup(connection.close)
        return daemon, connection


class Address(unittest.TestCase):
    def test_rules_of_the_daemon(self):
        old = dict(os.environ)
        try:
            for name in ('REIDD_HOST', 'XDG_RUNTIME_DIR', 'XDG_STATE_HOME', 'REIDD_STATE_DIR'):
                os.environ.pop(name, None)
            self.assertEqual(_address.find('unix:/a/b'), 'unix:/a/b')
            self.assertEqual(_address.find('unix:///a/b'), 'unix:/a/b')
            self.assertEqual(_address.find('/a/../b'), 'unix:/b')
            if os.geteuid() == 0:
                self.assertEqual(_address.find(), 'unix:/run/reidd/reidd.sock')
            os.environ['REIDD_HOST'] = '/c/d'
            self.assertEqual(_address.find(), 'unix:/c/d')
            self.assertEqual(_address.find('/e/f'), 'unix:/e/f')
            for good in ('tcp://node1:7411', 'tcp://10.0.0.1:1', 'tcp://[fd00::1]:65535'):
                self.assertEqual(_address.find(good), good)
            for bad in ('tcp://a', 'tcp://a:', 'tcp://a:65536', 'tcp://:1', 'tcp://a:1/b', 'tcp:a:1', 'tcp://fd00::1:1',
                        'localhost:50051', 'https://a/b', 'unix:', 'unix://a/b', 'unix:/' + 'x' * 107):
                with self.assertRaises(reidd.InvalidArgument, msg=bad):
                    _address.find(bad)
        finally:
            os.environ.clear()
            os.environ.update(old)


class Tls(Case):
    def make_authority(self, name):
        ca = self.folder / name
        for words in (['init', ca], ['issue', ca, 'node1', '--hosts', '127.0.0.1'], ['issue', ca, 'ada', '--role', 'viewer']):
            subprocess.run([support.BUILD / 'bin/reidctl', 'ca', *words], check=True, capture_output=True, timeout=60)
        return ca

    def test_certificates(self):
        ca, other = self.make_authority('ca'), self.make_authority('other')
        daemon = Fake(self.folder, ca / 'node1')
        self.addCleanup(daemon.stop)
        with reidd.connect(daemon.address, tls_dir=ca / 'ada') as connection:
            self.assertEqual(connection.info().version, 'fake')
        with self.assertRaises(reidd.Unavailable):
            reidd.connect(daemon.address, tls_dir=other / 'ada')
        with self.assertRaisesRegex(reidd.InvalidArgument, 'cannot read the certificate: .*nowhere'):
            reidd.connect(daemon.address, tls_dir=self.folder / 'nowhere')
        old = os.environ.pop('REIDD_TLS_DIR', None)
        try:
            with self.assertRaisesRegex(reidd.InvalidArgument, r'by tls_dir or \$REIDD_TLS_DIR'):
                reidd.connect(daemon.address)
            os.environ['REIDD_TLS_DIR'] = str(ca / 'ada')
            reidd.connect(daemon.address).close()
        finally:
            os.environ.pop('REIDD_TLS_DIR', None)
            if old is not None:
                os.environ['REIDD_TLS_DIR'] = old


class Config(Case):
    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def resolve(self, *args):
        return json.loads(_config.resolve(*args))

    def test_bases_are_merged_and_paths_absolute(self):
        self.write('Base.yml', 'MODEL: {WEIGHTS: w.bin, A: 1, B: [1]}\nSOLVER: {LR: 0.00035, IMS: 64}\nNAMES: ("x",)\n')
        self.write('sub/mid.yml', '_BASE_: ../Base.yml\nSOLVER: {IMS: 32}\n')
        path = self.write('sub/top.yml', '_BASE_: mid.yml\nMODEL: {A: 2}\nSOLVER:\n')
        tree = self.resolve(path, ['SOLVER.LR', 1e-4, 'INPUT.SIZE=[3, 3]'])
        self.assertEqual(tree['MODEL'], {'WEIGHTS': os.path.abspath('w.bin'), 'A': 2, 'B': [1]})
        self.assertEqual((tree['SOLVER'], tree['NAMES'], tree['INPUT']), ({'LR': 0.0001, 'IMS': 32}, '("x",)', {'SIZE': '[3, 3]'}))
        self.assertEqual(tree['OUTPUT_DIR'], os.path.abspath('logs'))
        self.assertTrue(os.path.isabs(tree['DATASETS']['ROOT']))
        self.assertNotIn('_BASE_', tree)

    def test_every_kind_of_configuration(self):
        class CfgNode(dict):
            def dump(self):
                raise AssertionError('a mapping is read as it is')

        class Dumped:
            def dump(self):
                return 'A: {B: 1}\n'

        for config in ({'A': {'B': 1}}, CfgNode(A=CfgNode(B=1)), Dumped(), 'A:\n  B: 1\n'):
            self.assertEqual(self.resolve(config, {'A': {'C': (1, 2)}, 'A.D': None})['A'], {'B': 1, 'C': [1, 2], 'D': None})
        given = {'A': {'B': 1}}
        self.resolve(given, {'A.B': 2})
        self.assertEqual(given, {'A': {'B': 1}})  # untouched

    def test_what_cannot_be(self):
        loop = self.write('loop.yml', '_BASE_: loop.yml\n')
        for config, overrides, word in (
                (loop, (), 'leads back'), (self.folder / 'none.yml', (), 'No such file'), ('A: 1\nA: 2\n', (), 'given twice'),
                ('A: [\n', (), 'configuration:'), ('- 1\n- 2\n', (), 'mapping'), (7, (), 'not int'), ({'A': object()}, (), 'object'),
                ({'A': math.nan}, (), 'JSON compliant'), ({}, ['A'], 'no value'), ({}, 'A=1', 'a dict, or a list'),
                ({'A': 1}, {'A.B': 1}, 'no section'), (self.write('b.bin', '\0\1'), (), 'b.bin'),
                (self.write('web.yml', '_BASE_: https://a/b.yml\n'), (), 'on the web')):
            with self.assertRaises(reidd.InvalidArgument) as caught:
                self.resolve(config, overrides)
            self.assertIn(word, str(caught.exception))


class Calls(Case):
    def test_nobody_listens(self):
        with self.assertRaises(reidd.Unavailable) as caught:
            reidd.connect(self.folder / 'nobody.sock', timeout=2)
        self.assertIn('nobody.sock', str(caught.exception))
        self.assertIsInstance(caught.exception, ConnectionError)

    def test_errors_have_the_daemons_sentence(self):
        code = [None]
        daemon, connection = self.play(JobService__Get=lambda r, c: c.abort(code[0], 'so it is'))
        for code[0], kind in ((grpc.StatusCode.NOT_FOUND, reidd.NotFound), (grpc.StatusCode.INVALID_ARGUMENT, reidd.InvalidArgument),
                              (grpc.StatusCode.FAILED_PRECONDITION, reidd.FailedPrecondition),
                              (grpc.StatusCode.DEADLINE_EXCEEDED, reidd.DeadlineExceeded),
                              (grpc.StatusCode.PERMISSION_DENIED, reidd.PermissionDenied),
                              (grpc.StatusCode.RESOURCE_EXHAUSTED, reidd.ResourceExhausted), (grpc.StatusCode.DATA_LOSS, reidd.Internal)):
            with self.assertRaises(kind) as caught:
                connection.job('x')
            self.assertEqual(str(caught.exception), 'so it is')
            self.assertIsNone(caught.exception.__cause__)
        with self.assertRaises(reidd.Unimplemented):
            connection.jobs()
        connection.close()
        with self.assertRaises(reidd.Error):
            connection.job('x')

    def test_garbage_is_an_error(self):
        daemon, connection = self.play(JobService__Get=lambda r, c: b'\xff\xff\xff', JobService__Metrics=lambda r, c: iter([b'\xff\xff']))
        with self.assertRaises(reidd.Internal):
            connection.job('x')
        with self.assertRaises(reidd.Internal):
            list(reidd.Job(connection, pb.Job(id='j1')).metrics())

    def test_requests_say_what_was_asked(self):
        word = lambda r, c: pb.ControlResponse(iteration=5, entries=[pb.JournalEntry(seq=1, name='lr', old='1', new='2')])
        change = lambda r, c: pb.HookChange(hook=4, iteration=6)
        daemon, connection = self.play(
            JobService__Submit=lambda r, c: pb.Job(id='j1', name=r.name, ranks=r.ranks, config_yaml=r.config_yaml,
                                                   output_dir=str(self.folder / 'out')),
            ControlService__Set=word, ControlService__Profile=word, ControlService__Stop=word, HookService__Add=change,
            HookService__Remove=change, JobService__Remove=lambda r, c: pb.Job(id=r.id, name='last'), JobService__Get=lambda r, c: pb.Job(id='j1', config_yaml='SOLVER: {}\n', ranks=2),
            JobService__List=lambda r, c: pb.ListJobsResponse(jobs=[pb.Job(id='a', state=77)]))
        job = connection.submit({}, 2, name='n', overrides={'OUTPUT_DIR': '/x'})
        self.assertEqual((job.id, job.name, job.ranks, daemon.asked[-1].resume), ('j1', 'n', 2, False))
        done = job.set(lr=1e-5, eval_period=3, at_iter=9, reason='r')
        self.assertEqual([(s.name, s.value) for s in daemon.asked[-1].settings], [('lr', '1e-05'), ('eval_period', '3')])
        self.assertEqual((done.iteration, done.entries[0].new, done.hook), (5, '2', None))
        job.profile(3)
        self.assertEqual(daemon.asked[-1].steps, 3)
        self.assertEqual(job.add_lua('function after_step()\nend', every=2, on_error='fail', depth=1).hook, 4)
        self.assertEqual((daemon.asked[-1].lua[:8], daemon.asked[-1].on_error, daemon.asked[-1].options[0].value), ('function', 3, '1'))
        job.remove_hook(4)
        self.assertEqual((daemon.asked[-1].hook, daemon.asked[-1].name), (4, ''))
        job.remove_hook('warm')
        self.assertEqual((daemon.asked[-1].hook, daemon.asked[-1].name), (0, 'warm'))
        with self.assertRaises(reidd.InvalidArgument):
            job.add_native('X', on_error='explode')
        with self.assertRaises(reidd.InvalidArgument):
            job.add_lua('nowhere.lua')
        (self.folder / 'out-fork-3').mkdir()
        job.fork(3, {'SOLVER.BASE_LR': 1})
        asked = daemon.asked[-1]
        self.assertEqual((asked.fork.job, asked.fork.at_iter, asked.ranks), ('j1', 3, 2))
        self.assertEqual(json.loads(asked.config_yaml)['OUTPUT_DIR'], str(self.folder / 'out-fork-3.2'))
        self.assertEqual(connection.jobs('RUNNING')[0].state, 'UNSPECIFIED')  # a state that is not known here
        self.assertEqual(list(daemon.asked[-1].states), [3])
        with self.assertRaises(reidd.InvalidArgument):
            connection.jobs(['WALKING'])
        self.assertEqual((job.remove().name, daemon.asked[-1].id), ('last', 'j1'))


class Streams(Case):
    def row(self, seq, attempt=1):
        return pb.MetricRow(attempt=attempt, seq=seq, iteration=seq - 1, scalars=[pb.Scalar(name='total_loss', value=seq / 2)])

    def test_metrics_go_on_after_a_loss_and_after_a_gap(self):
        calls = []

        def metrics(request, context):
            calls.append((request.attempt, request.seq))
            if len(calls) == 1:
                yield pb.MetricsChunk(rows=[self.row(1), self.row(2)])
                context.abort(grpc.StatusCode.UNAVAILABLE, 'the server is shutting down')
            elif len(calls) == 2:  # rows that it has seen, then a gap
                yield pb.MetricsChunk(rows=[self.row(1), self.row(2), self.row(3)])
                yield pb.MetricsChunk(rows=[self.row(9)], missed=5)
            elif len(calls) == 3:
                yield pb.MetricsChunk(rows=[self.row(i) for i in range(4, 10)] + [self.row(1, attempt=2)])
                # ends although the job has not

            else:
                state[0] = fake.SUCCEEDED
                yield pb.MetricsChunk(rows=[self.row(2, attempt=2)])

        state = [fake.RUNNING]
        daemon, connection = self.play(JobService__Metrics=metrics, JobService__Get=lambda r, c: pb.Job(id='j1', state=state[0]))
        stream = connection.job('j1').metrics(follow=True)
        rows = list(stream)
        self.assertEqual([(m.attempt, m.seq) for m in rows], [(1, i) for i in range(1, 10)] + [(2, 1), (2, 2)])
        self.assertEqual((rows[3].iteration, rows[3]['total_loss'], dict(rows[0]), len(rows[0])), (3, 2.0, {'total_loss': 0.5}, 1))
        self.assertEqual(calls, [(0, 0), (1, 2), (1, 3), (2, 1)])
        self.assertEqual((stream.cursor, stream.missed), ((2, 2), 0))

    def test_the_cursor_is_of_what_was_given_out(self):
        daemon, connection = self.play(JobService__Metrics=lambda r, c: iter([pb.MetricsChunk(rows=[self.row(1), self.row(2)])]))
        stream = connection.job('j1').metrics()
        next(stream)
        self.assertEqual(stream.cursor, (1, 1))

    def test_rows_that_are_gone_are_counted(self):
        daemon, connection = self.play(JobService__Metrics=lambda r, c: iter([pb.MetricsChunk(rows=[self.row(9)], missed=8)]))
        stream = connection.job('j1').metrics()
        self.assertEqual(([m.seq for m in stream], stream.missed), ([9], 8))

    def test_patience_ends(self):
        daemon, connection = self.play(JobService__Metrics=lambda r, c: c.abort(grpc.StatusCode.UNAVAILABLE, 'gone'))
        began = time.monotonic()
        with self.assertRaises(reidd.Unavailable):
            list(connection.job('j1').metrics(follow=True, patience=0.5))
        self.assertLess(time.monotonic() - began, 5)
        with self.assertRaises(reidd.Unavailable):  # nothing to follow: at once
            list(connection.job('j1').metrics())

    def test_close_from_another_thread(self):
        waiting = threading.Event()

        def metrics(request, context):
            yield pb.MetricsChunk(rows=[self.row(1)])
            waiting.wait(20)

        daemon, connection = self.play(JobService__Metrics=metrics)
        stream = connection.job('j1').metrics(follow=True)
        next(stream)
        timer = threading.Timer(0.1, stream.close)
        timer.start()
        self.assertEqual(list(stream), [])
        waiting.set()

    def test_log_lines_survive_a_loss(self):
        calls = []

        def logs(request, context):
            calls.append(request.tail_lines)
            whole = b'one\ntwo \xff\nthree\nfour'
            if len(calls) == 1:
                yield pb.LogChunk(rank=0, data=whole[4:9], offset=4)
                yield pb.LogChunk(rank=-1, data=b'launcher\n', offset=0)
                context.abort(grpc.StatusCode.UNAVAILABLE, 'x')
            yield pb.LogChunk(rank=0, data=whole, offset=0)

        daemon, connection = self.play(JobService__Logs=logs, JobService__Get=lambda r, c: pb.Job(
            id='j1', attempt=3, state=fake.SUCCEEDED if len(calls) > 1 else fake.RUNNING))
        lines = [(line.rank, line.text) for line in connection.job('j1').logs(follow=True, tail_lines=3)]
        self.assertEqual(lines, [(None, 'launcher'), (0, 'two \ufffd'), (0, 'three'), (0, 'four')])
        self.assertEqual(calls, [3, 0])

    def test_wait(self):
        def watch(request, context):
            yield pb.Job(id='j1', state=fake.RUNNING)
            if not hurry.wait(20):
                return
            yield pb.Job(id='j1', state=5, failure=pb.Failure(sentence='rank 1 has died', rank=1))

        hurry = threading.Event()
        daemon, connection = self.play(JobService__Watch=watch,
                                       JobService__Get=lambda r, c: pb.Job(id='j1', state=5 if hurry.is_set() else fake.RUNNING))
        job = connection.job('j1')
        with self.assertRaises(TimeoutError):
            job.wait(0.2)
        self.assertIsNone(job.failure)
        hurry.set()
        self.assertEqual((job.wait(10).state, job.failure.rank), ('FAILED', 1))
        with self.assertRaises(reidd.JobFailed) as caught:
            job.wait(check=True)
        self.assertIn('rank 1 has died', str(caught.exception))


class Steps(reidd.HookBase):
    def __init__(self, act=lambda trainer: None):
        self.seen = []
        self.act = act

    def before_step(self):
        self.seen.append(('before_step', self.trainer.iter))

    def after_step(self):
        self.seen.append(('after_step', self.trainer.iter))
        self.act(self.trainer)


class Hooks(Case):
    def attach(self, hook, **options):
        training = Training()
        daemon, connection = self.play(HookService__Attach=training.attach,
                                       JobService__Get=lambda r, c: pb.Job(id='j1', state=fake.RUNNING))
        handle = connection.job('j1').register_hook(hook, **options)
        self.addCleanup(training.end)
        self.assertTrue(training.ready.wait(10))
        return training, handle

    def test_registration(self):
        training, handle = self.attach(Steps(), every=10, when='total_loss > 5', scalars=['loss*'], deadline=0.5, on_lost='fail',
                                       asynchronous=True, reason='why', name='n')
        r = training.registered
        self.assertEqual((r.job, r.name, list(r.points), r.every, r.when, list(r.scalars), r.asynchronous, r.deadline_seconds, r.on_late,
                          r.on_lost, r.on_error, r.reason),
                         ('j1', 'n', [5, 6], 10, 'total_loss > 5', ['loss*'], True, 0.5, 1, 3, 2, 'why'))
        self.assertFalse(handle.enabled)
        with self.assertRaises(reidd.DeadlineExceeded):
            handle.wait_attached(0.05)
        training.attached(hook=9, iteration=3)
        self.assertEqual((handle.id, handle.enabled, handle.ended), (9, True, False))
        training.end()
        self.assertTrue(handle.wait(10))
        self.assertEqual((handle.ended, handle.error, handle.enabled), (True, None, False))

    def test_refused_by_us(self):
        daemon, connection = self.play()
        job = connection.job('j1')

        class Empty(reidd.HookBase):
            pass

        for hook, options in ((Empty(), {}), (object(), {}), (Steps(), {'every': 0}), (Steps(), {'deadline': 61}),
                              (Steps(), {'on_late': 'cry'})):
            with self.assertRaises(reidd.InvalidArgument):
                job.register_hook(hook, **options)

    def test_refused_by_the_daemon(self):
        training, handle = self.attach(Steps(), when='(')
        training.fail(grpc.StatusCode.INVALID_ARGUMENT, 'when: there is a (')
        with self.assertRaises(reidd.InvalidArgument) as caught:
            handle.id
        self.assertEqual(str(caught.exception), 'when: there is a (')
        with self.assertRaises(reidd.InvalidArgument):
            handle.wait(5)

    def test_what_a_hook_sees(self):
        kept = {}

        def act(trainer):
            storage = trainer.storage
            kept.update(max_iter=trainer.max_iter, epoch=trainer.epoch, max_epoch=trainer.max_epoch, lr=trainer.lr, iter=storage.iter,
                        start=trainer.start_iter, latest=storage.latest(), loss=storage.history('total_loss').values(),
                        median=storage.history('total_loss').median(20), mean=storage.history('total_loss').global_avg())
            with self.assertRaises(KeyError):
                storage.history('nothing')
            for thing, name in ((storage, 'latest_with_smoothing_hint'), (storage, 'put_image'), (trainer, 'model')):
                with self.assertRaises(AttributeError) as caught:
                    getattr(thing, name)
                self.assertGreater(len(str(caught.exception)), 40)
            with self.assertRaises(AttributeError):
                trainer.iter = 3
            with self.assertRaises(AttributeError):
                trainer.mine = 3

        hook = Steps(act)
        training, handle = self.attach(hook)
        training.attached(iteration=4)
        training.ask('before_step', 4, total_loss=9, lr=0.2)
        training.ask('after_step', 4, total_loss=3, lr=0.2, epoch=1)
        training.ask('before_step', 5, total_loss=3, lr=0.2)
        verdict = training.ask('after_step', 5, total_loss=3, lr=0.2, epoch=1, mAP=1)
        self.assertEqual((verdict.error, len(verdict.actions)), ('', 0))
        self.assertEqual(hook.seen, [('before_step', 4), ('after_step', 4), ('before_step', 5), ('after_step', 5)])
        self.assertEqual(kept, {'max_iter': 100, 'epoch': 1, 'max_epoch': 5, 'lr': 0.2, 'iter': 5, 'start': 4,
                                'latest': {'total_loss': (3, 5), 'mAP': (1, 5)}, 'loss': [(9, 4), (3, 4), (3, 5)], 'median': 3, 'mean': 5})

    def test_what_a_hook_asks_for(self):
        def act(trainer):
            trainer.lr *= 0.5
            self.assertEqual(trainer.lr, 0.05)
            trainer.set(margin=0.5, weight_decay='0.1')
            trainer.storage.put_scalar('a', 2)
            trainer.storage.put_scalars(b=3, c=4.5)
            trainer.checkpoint()
            trainer.evaluate()
            trainer.skip_step()
            trainer.stop('enough')

        hook = Steps(act)
        training, handle = self.attach(hook)
        training.attached()
        verdict = training.ask('after_step', 1)
        kinds = [a.WhichOneof('kind') for a in verdict.actions]
        self.assertEqual(kinds, ['set', 'set', 'put_scalar', 'put_scalar', 'put_scalar', 'checkpoint', 'evaluate', 'skip_step', 'stop'])
        self.assertEqual([(s.name, s.value) for a in verdict.actions[:2] for s in a.set.settings],
                         [('lr', '0.05'), ('margin', '0.5'), ('weight_decay', '0.1')])
        self.assertEqual((verdict.actions[4].put_scalar.value, verdict.actions[8].stop.reason), (4.5, 'enough'))
        with self.assertRaises(reidd.FailedPrecondition):  # nobody would hear it
            hook.trainer.stop()

    def test_an_exception_is_told_and_the_hook_goes_on(self):
        def act(trainer):
            trainer.stop()
            if trainer.iter == 1:
                raise RuntimeError('ä' * 2000)
            if trainer.iter == 2:
                sys.exit()
            for _ in range(100):
                trainer.skip_step()

        training, handle = self.attach(Steps(act))
        training.attached()
        verdict = training.ask('after_step', 1)
        self.assertTrue(verdict.error.startswith('RuntimeError: ää'))
        self.assertLessEqual(len(verdict.error.encode()), 1000)
        self.assertEqual(len(verdict.actions), 0)
        self.assertIsInstance(handle.error, RuntimeError)
        self.assertEqual(training.ask('after_step', 2).error, 'SystemExit')
        self.assertIn('64 things', training.ask('after_step', 3).error)
        training.say(notice=pb.HookNotice(state=2, sentence='disabled: RuntimeError'))
        training.say(notice=pb.HookNotice(state=1, sentence=''))
        training.say(notice=pb.HookNotice(state=2, sentence='again'))
        training.say(notice=pb.HookNotice(state=3, sentence='gone'))
        training.end()
        self.assertTrue(handle.wait(10))
        self.assertEqual((handle.notice, handle.enabled), ('gone', False))

    def test_remove_half_closes_after_the_answer(self):
        inside, go = threading.Event(), threading.Event()

        def act(trainer):
            inside.set()
            go.wait(10)

        training, handle = self.attach(Steps(act))
        training.attached()
        training.event('after_step', 1)
        self.assertTrue(inside.wait(10))
        remover = threading.Thread(target=handle.remove)
        remover.start()
        time.sleep(0.05)
        go.set()
        self.assertEqual(training.heard.get(timeout=10).event, 1)
        self.assertIsNone(training.heard.get(timeout=10))
        training.event('after_step', 2)  # was on its way
        training.end()
        remover.join(10)
        self.assertFalse(remover.is_alive())
        self.assertIsNone(handle.error)

    def test_a_hook_removes_itself_and_with_removes(self):
        box = []
        training, handle = self.attach(Steps(lambda trainer: box[0].remove()))
        box.append(handle)
        training.attached()
        training.ask('after_step', 1)
        self.assertIsNone(training.heard.get(timeout=10))
        training.end()
        self.assertTrue(handle.wait(10))

    def test_remove_before_it_is_attached(self):
        training, handle = self.attach(Steps())
        with handle:
            pass
        self.assertTrue(handle.ended)
        self.assertIsNone(handle.error)

    def test_a_lost_daemon_is_an_error_of_wait(self):
        training, handle = self.attach(Steps())
        training.attached()
        self.assertEqual(handle.id, 7)
        training.fail(grpc.StatusCode.UNAVAILABLE, 'bye')
        with self.assertRaises(reidd.Unavailable):
            handle.wait(10)
        self.assertIsInstance(handle.error, reidd.Unavailable)

    def test_hostile_answers_end_the_hook_only(self):
        for send in (lambda t: t.event('after_step', 1),  # before it is attached
                     lambda t: (t.attached(), t.event('before_train')),  # not asked for
                     lambda t: t.to_say.put(b'\xff\xff')):
            training = Training()
            folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-', dir=self.folder))
            daemon = Fake(folder, HookService__Attach=training.attach)
            try:
                with reidd.connect(daemon.address) as connection:
                    handle = connection.job('j1').register_hook(Steps())
                    send(training)
                    with self.assertRaises(reidd.Internal):
                        handle.wait(10)
            finally:
                training.end()
                daemon.stop()
        training, handle = self.attach(Steps())
        training.say()  # a kind from a newer reidd
        training.attached()
        self.assertEqual(training.ask('after_step', 1).error, '')

    def test_an_object_is_hooked_once(self):
        hook = Steps()
        training, handle = self.attach(hook)
        with self.assertRaises(reidd.InvalidArgument):
            handle._job.register_hook(hook)
        handle.remove()
        handle._job.register_hook(hook).remove()  # once it has ended, again

    def test_registrations_keep_their_order(self):
        names, lock = [], threading.Lock()

        def attach(requests, context):
            first = next(requests)
            with lock:
                names.append(first.register.name)
            yield pb.HookDown(attached=pb.HookAttached(hook=len(names)))

        daemon, connection = self.play(HookService__Attach=attach)
        job = connection.job('j1')
        handles = [job.register_hook(Steps(), name=str(i)) for i in range(20)]
        for handle in handles:
            handle.wait(10)
        self.assertEqual(sorted(names, key=int), [str(i) for i in range(20)])


if __name__ == '__main__':
    unittest.main(verbosity=2)
