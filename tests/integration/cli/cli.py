#!/usr/bin/python3
"""reidctl as its users run it, against a daemon that follows a script (fake_reidd)."""
import csv
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from terminal import Terminal

ROOT = pathlib.Path(__file__).parents[3]
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci'))
REIDCTL = str(BUILD / 'bin/reidctl')
CONFIG = str(ROOT / 'deploy/configs/Demo/bagtricks_R18.yml')
PATIENCE = float(os.environ.get('REID_TEST_PATIENCE', '1'))  # sanitized programs are slower
PENDING, STARTING, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(1, 7)
LOADING, TRAINING, EVALUATING, SAVING = range(1, 5)
STATUS = {'INVALID': 1, 'NOT_FOUND': 2, 'EXISTS': 3, 'PERMISSION': 4, 'PRECONDITION': 6, 'EXHAUSTED': 7, 'INTERNAL': 14}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ('NO_COLOR', 'REIDD_HOST', 'FASTREID_DATASETS')}


def wait_until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f'{what}: not within {seconds * PATIENCE:g} s'
        time.sleep(0.01)


class Fake:
    """The scripted daemon."""

    def __init__(self, socket):
        self.process = subprocess.Popen([str(BUILD / 'tests/fake_reidd'), socket], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.jobs = {}
        self.seq = {}
        wait_until(lambda: os.path.exists(socket), 'fake_reidd listens')
        self.do('streams')  # an answer: it has not only bound the socket, but listens

    def do(self, verb, **what):
        self.process.stdin.write(json.dumps({'do': verb, **what}) + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip('\n')
        assert answer, f'fake_reidd does not know how to {verb} {what}'
        return answer

    def job(self, id, **changes):
        now = int(time.time() * 1000)
        job = self.jobs.setdefault(id, {'id': id, 'name': 'demo', 'user': 'ada', 'state': RUNNING, 'phase': TRAINING,
                                        'ranks': 2, 'attempt': 1, 'iteration': 0, 'max_iteration': 100, 'max_epoch': 10,
                                        'eta': 75, 'rate': 500, 'submitted_ms': now - 90_000, 'started_ms': now - 80_000,
                                        'output_dir': '/srv/out', 'config_yaml': 'SEED: 7\n'})
        job.update(changes)
        self.do('job', **job)

    def row(self, id, verb='row', **scalars):
        seq = self.seq[id] = self.seq.get(id, 0) + 1
        self.do(verb, id=id, seq=seq, iteration=seq - 1, epoch=(seq - 1) // 10, wall_ms=1_700_000_000_000 + seq,
                scalars=scalars or {'total_loss': 10 / seq})

    def last(self):
        """The last request, without what has its default."""
        return json.loads(self.do('last'))

    def attach(self):
        """The newest call of Attach, and what has come on it."""
        return json.loads(self.do('attach'))

    def wait_attach(self, condition, what):
        wait_until(lambda: condition(self.attach()), what)
        return self.attach()

    def wait_streams(self, count):
        wait_until(lambda: int(self.do('streams')) == count, f'{count} streams')

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(10 * PATIENCE)
        self.process.stdout.close()
        assert code == 0, code


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-'))
        self.socket = str(self.folder / 's')
        self.fake = Fake(self.socket)
        self.env = {**ENVIRONMENT, 'REIDD_HOST': f'unix:{self.socket}', 'TERM': 'xterm', 'LC_ALL': 'C.UTF-8'}
        self.started = []

    def tearDown(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.fake.close()
        shutil.rmtree(self.folder)

    def ctl(self, *args, code=0, text=True, **kwargs):
        """Runs reidctl to its end."""
        done = subprocess.run([REIDCTL, *map(str, args)], env=self.env, capture_output=True, text=text,
                              cwd=self.folder, timeout=20 * PATIENCE, **kwargs)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        return done

    def start(self, *args):
        process = subprocess.Popen([REIDCTL, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, cwd=self.folder)
        self.started.append(process)
        return process

    def end(self, process):
        """Its output and what it said on standard error."""
        return process.communicate(timeout=20 * PATIENCE)

    def terminal(self, *args, columns=80, lines=24, **env):
        terminal = Terminal([REIDCTL, *args], columns, lines, {**self.env, **env})
        self.started.append(terminal.process)
        return terminal


class Verbs(Case):
    def test_ps(self):
        self.assertEqual(self.ctl('ps').stdout.split(),
                         'ID NAME USER STATE PHASE RANKS ITERATION ETA RUNTIME AGE'.split())
        self.assertEqual(self.ctl('ps', '-o', 'json').stdout, '[]\n')
        now = int(time.time() * 1000)
        self.fake.job('aaa11111', name='first', state=SUCCEEDED, started_ms=now - 300_000, ended_ms=now - 100_000)
        self.fake.job('bbb22222', name='a-much-longer-name', iteration=7)
        self.fake.job('ccc33333', name='third', state=PENDING, phase=0, started_ms=0, max_iteration=0, queue_position=1)
        lines = self.ctl('ps').stdout.splitlines()
        self.assertEqual([line.split()[:8] for line in lines[1:]],
                         [['ccc33333', 'third', 'ada', 'PENDING', '-', '2', '-', '-'],
                          ['bbb22222', 'a-much-longer-name', 'ada', 'RUNNING', 'training', '2', '7/100', '1m15s']])
        self.assertEqual({line.index(word) for line, word in zip(lines, ('USER', 'ada', 'ada'))},
                         {lines[0].index('USER')}, 'columns are aligned')
        self.assertEqual(self.ctl('ls', '-a', '--no-headers').stdout.splitlines()[2].split()[-2], '3m20s')
        self.assertEqual(self.ctl('ps', '-aq').stdout.split(), ['ccc33333', 'bbb22222', 'aaa11111'])
        self.assertEqual(self.ctl('ps', '--all', '--limit=1', '-q').stdout.split(), ['ccc33333'])
        jobs = json.loads(self.ctl('ps', '-a', '-o', 'json').stdout)
        self.assertEqual([job['state'] for job in jobs], ['PENDING', 'RUNNING', 'SUCCEEDED'])
        self.assertIsNone(jobs[0]['started_ms'])
        self.assertNotIn('\x1b', self.ctl('ps').stdout)

    def test_describe_and_config(self):
        self.fake.job('aaa11111', iteration=30, epoch=3)
        text = self.ctl('describe', 'aaa').stdout
        for line in ('State         RUNNING training', 'Progress      iteration 30 of 100, epoch 4 of 10',
                     'ETA           1m15s', 'Output        /srv/out', 'Attempt       1'):
            self.assertIn(line + '\n', text)
        job = json.loads(self.ctl('describe', '-o', 'json', 'demo').stdout)
        self.assertEqual(job['progress'], {'iteration': 30, 'max_iteration': 100, 'epoch': 3, 'max_epoch': 10,
                                           'eta_seconds': 75.0, 'images_per_second': 500.0})
        self.assertNotIn('failure', job)
        self.fake.job('aaa11111', state=FAILED, failure='rank 1 was killed', culprit=1, exit_code=137, ended_ms=1)
        text = self.ctl('inspect', 'aaa11111').stdout
        for line in ('First cause   rank 1 was killed', 'Culprit rank  1', 'Exit status   137'):
            self.assertIn(line + '\n', text)
        self.assertEqual(self.ctl('config', 'demo').stdout, 'SEED: 7\n')

    def test_version(self):
        self.assertRegex(self.ctl('version').stdout, r'^reidctl  \d+\.\d+\.\d+.*\nreidd    9\.8\.7 \(abcdef\) on here')
        self.assertEqual(json.loads(self.ctl('version', '-o', 'json').stdout)['slots_used'], 1)
        self.assertRegex(self.ctl('--version').stdout, r'^reidctl \d')
        self.fake.do('drop')
        self.assertRegex(self.ctl('version', code=3).stdout, r'^reidctl  \d+\.\d+\.\d+')

    def test_cancel(self):
        self.fake.job('aaa11111')
        self.assertEqual(self.ctl('cancel', '--grace', '2.5', '--reason', 'too slow', 'demo').stdout,
                         'aaa11111 is being cancelled\n')
        self.assertEqual(self.fake.last(), {'id': 'demo', 'grace_seconds': 2.5, 'reason': 'too slow'})
        done = self.ctl('cancel', 'nobody', 'aaa11111', code=4)
        self.assertEqual((done.stdout, done.stderr),
                         ('aaa11111 is being cancelled\n', "reidctl: there is no job 'nobody'\n"))

    def test_metrics(self):
        self.fake.job('aaa11111', state=SUCCEEDED)
        self.fake.row('aaa11111', **{'total_loss': 0.1, 'odd "name", this': 1e-7})
        self.fake.row('aaa11111', total_loss=float(1 / 3), lr=0.00035)
        rows = [json.loads(line) for line in self.ctl('metrics', 'demo').stdout.splitlines()]
        self.assertEqual([row['seq'] for row in rows], [1, 2])
        self.assertEqual(rows[1]['metrics'], {'total_loss': 1 / 3, 'lr': 0.00035})
        table = list(csv.reader(io.StringIO(self.ctl('metrics', 'demo', '-o', 'csv').stdout)))
        self.assertEqual(table[0], ['attempt', 'seq', 'iteration', 'epoch', 'wall_ms', 'name', 'value'])
        self.assertEqual(table[2], ['1', '1', '0', '0', '1700000000001', 'odd "name", this', '1e-07'])
        self.assertEqual(self.ctl('metrics', '--names', 'l*,x', 'demo').stdout.count('\n'), 1)
        self.assertEqual(self.fake.last(), {'id': 'aaa11111', 'names': ['l*', 'x']})

    def test_logs(self):
        self.fake.job('aaa11111', state=SUCCEEDED)
        self.fake.do('log', id='aaa11111', rank=0, text='one\ntwo\n\x1b[31mred\x1b[0m \x1b]0;title\x07\n')
        self.fake.do('log', id='aaa11111', rank=1, text='eins\nzwei')
        self.fake.do('log', id='aaa11111', rank=-1, stderr=True, text='mpirun\n')
        self.assertEqual(self.ctl('logs', 'demo').stdout.splitlines(),
                         ['[0] one', '[0] two', '[0] \x1b[31mred\x1b[0m \x1b]0;title\x07', '[1] eins',
                          '[launcher] mpirun', '[1] zwei'])
        self.assertEqual(self.ctl('logs', '-r1', 'demo').stdout, 'eins\nzwei')
        self.assertEqual(self.ctl('logs', '--rank', '0', '--tail', '2', 'demo').stdout.splitlines()[0], 'two')
        self.assertEqual(self.ctl('logs', '--rank', '-1', 'demo').stdout, 'mpirun\n')
        terminal = self.terminal('logs', '--rank', '0', 'demo')
        self.assertEqual(terminal.finish(), 0)
        self.assertIn('\x1b[31mred\x1b[0m ?]0;title?', terminal.raw)

    def test_a_long_line_of_a_log(self):
        self.fake.job('aaa11111', state=SUCCEEDED)
        self.fake.do('log', id='aaa11111', rank=0, text='x' * 200_000 + '\n')
        self.fake.do('log', id='aaa11111', rank=1, text='y' * 200_000)
        out = self.ctl('logs', 'demo').stdout
        self.assertEqual((out.count('x'), out.count('y')), (200_000, 200_000))
        self.assertEqual(self.ctl('logs', '-r', '0', 'demo').stdout, 'x' * 200_000 + '\n')

    def test_help(self):
        verbs = [['hook', verb] for verb in re.findall(r'^  ([\w-]+) ', self.ctl('hook', '--help').stdout, re.M)]
        self.assertEqual(len(verbs), 5)
        for command in [[word] for word in re.findall(r'^  ([\w-]+) ', self.ctl('--help').stdout, re.M)] + verbs:
            with self.subTest(command=command):
                text = self.ctl(*command, '--help').stdout
                self.assertTrue(text.startswith(f'usage: reidctl {" ".join(command)} '))
                self.assertEqual(text, self.ctl('help', *command).stdout)
                self.assertLess(max(map(len, text.splitlines())), 120)
        self.ctl('help', 'nothing', code=2)
        self.ctl('help', 'hook', 'nothing', code=2)
        self.assertIn('Also called: hook rm\n', self.ctl('hook', 'rm', '-h').stdout)
        self.assertIn('Commands:', self.ctl(code=2).stdout)

    def test_keys(self):
        self.assertIn('SOLVER.WARMUP_ITERS int', self.ctl('keys', 'warmup').stdout)
        keys = json.loads(self.ctl('keys', '-o', 'json').stdout)
        self.assertIn({'SEED'}, [{key['key']} for key in keys])
        self.ctl('keys', 'no such word', code=4)


class Submit(Case):
    def assertSubmitted(self, **request):
        last = self.fake.last()
        del last['config_yaml']
        self.assertEqual(last, request)

    def test_request(self):
        done = self.ctl('submit', '-n', 2, '--name', 'mine', '--resume', CONFIG, 'SEED', '-1', 'SOLVER.MAX_EPOCH=3',
                        'OUTPUT_DIR', 'out')
        self.assertEqual((done.stdout, done.stderr), ('j0000001\n', ''))
        self.assertSubmitted(name='mine', ranks=2, resume=True)
        config = self.ctl('config', 'mine').stdout
        self.assertIn('\nSEED: -1\n', config)
        self.assertIn('MAX_EPOCH: 3\n', config)
        self.assertIn(f'\nOUTPUT_DIR: {self.folder}/out\n', config)
        self.assertIn(f'ROOT: {self.folder}/datasets\n', config)
        again = self.ctl('submit', '-o', 'json', '--num-gpus', 1, '--eval-only', '-', input=config)
        self.assertEqual(json.loads(again.stdout)['state'], 'PENDING')
        self.assertSubmitted(ranks=1, eval_only=True)
        self.assertEqual(self.ctl('config', 'j0000002').stdout, config)
        self.ctl('submit', '--config-file', CONFIG, 'SEED', '-1', '--name', 'other')
        self.assertSubmitted(name='other')

    def test_dry_run_and_warnings(self):
        done = self.ctl('submit', '--dry-run', CONFIG, 'MODEL.DEVICE', 'cuda', 'SOLVER.MAX_EPOCH', '7')
        self.assertIn('MAX_EPOCH: 7\n', done.stdout)
        self.assertRegex(done.stderr, r'^reidctl: warning: MODEL.DEVICE .*\n$')
        self.assertEqual(self.ctl('ps', '-aq').stdout, '')
        self.env['FASTREID_DATASETS'] = '/srv/data'
        self.assertIn('ROOT: /srv/data\n', self.ctl('submit', '--dry-run', CONFIG).stdout)

    def test_mistakes_are_one_sentence(self):
        cases = [(['nothing.yml'], 'nothing.yml'), ([CONFIG, 'SOLVER.LR', '1'], 'SOLVER.LR'), ([], 'CONFIG'),
                 ([CONFIG, 'SEED'], 'SEED'), (['-n', '0', CONFIG], '--ranks'), (['-n', '2', CONFIG, 'SOLVER.IMS_PER_BATCH', '7'], '7'),
                 (['-f', '-o', 'json', CONFIG], 'json'), (['-o', 'xml', CONFIG], 'text or json')]
        for args, word in cases:
            with self.subTest(args=args):
                done = self.ctl('submit', *args, code=2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(word, done.stderr)
                self.assertEqual(done.stdout, '')
        self.ctl('submit', '-', code=2, input='x' * 2_000_000)
        self.ctl('submit', '-', code=2, text=False, input=b'SEED: 1\0\n')

    def test_follow_to_the_end(self):
        follow = self.start('submit', '-f', CONFIG)
        self.fake.wait_streams(2)
        self.fake.job('j0000001', name='sub', iteration=1)
        self.fake.row('j0000001', total_loss=2.5, lr=0.1)
        self.fake.row('j0000001', **{'mAP': 43.21, 'Rank-1': 65.43})
        self.fake.job('j0000001', state=SUCCEEDED, iteration=100, epoch=10)
        out, err = self.end(follow)
        self.assertEqual((follow.returncode, err), (0, ''))
        lines = out.splitlines()
        self.assertEqual(lines[0], 'j0000001')
        self.assertIn('evaluation after epoch 1  mAP 43.21  Rank-1 65.43', lines)
        self.assertIn('epoch 10/10  iter 100/100  eta 1m15s  total_loss 2.5  lr 1.00e-01  500 images/s', lines)
        self.assertEqual(lines[-2:], ['job j0000001 (sub) SUCCEEDED', 'job j0000001 succeeded; its files are in /srv/out'])


class ExitCodes(Case):
    def test_job_decides(self):
        self.fake.job('aaa11111', name='good', state=SUCCEEDED)
        self.fake.job('bbb22222', name='bad', state=FAILED, failure='the loss became NaN', exit_code=1)
        self.fake.job('ccc33333', name='killed', state=FAILED, failure='rank 1 was killed', exit_code=137)
        self.fake.job('ddd44444', name='stopped', state=CANCELLED, exit_code=143)
        for name, code in (('good', 0), ('bad', 1), ('killed', 137), ('stopped', 143)):
            self.ctl('wait', name, code=code)
            self.ctl('watch', name, code=code)
        self.ctl('wait', 'good', 'stopped', 'bad', code=143)
        self.assertEqual(self.ctl('wait', 'bad', code=1).stderr,
                         'reidctl: job bbb22222 failed: the loss became NaN; see reidctl logs bbb22222\n')

    def test_usage(self):
        for args in (['ps', 'word'], ['describe'], ['describe', 'a', 'b'], ['ps', '--nothing'], ['ps', '-o'],
                     ['ps', '--all=1'], ['nothing'], ['--nothing'], ['wait', '--timeout', '-1', 'a'], ['ps', '--limit', '0'],
                     ['logs', '--rank', '-2', 'a'], ['metrics', '-o', 'table', 'a'], ['completion', 'fish']):
            with self.subTest(args=args):
                done = self.ctl(*args, code=2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("did you mean 'describe'?", self.ctl('descrive', code=2).stderr)
        self.assertIn("did you mean '--timeout'?", self.ctl('wait', '--time-out', '1', 'x', code=2).stderr)

    def test_unreachable(self):
        self.fake.do('drop')
        for args in (['ps'], ['watch', 'a'], ['logs', '-f', 'a'], ['metrics', '-f', 'a'], ['wait', 'a'], ['cancel', 'a', 'b'],
                     ['submit', CONFIG], ['config', 'a']):
            with self.subTest(args=args):
                done = self.ctl(*args, code=3)
                self.assertIn('cannot reach reidd', done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1)
        self.ctl('-H', 'tcp://there:1', 'ps', code=2)
        self.ctl('ps', '--host', str(self.folder / 'nothing'), code=3)

    def test_not_found(self):
        for verb in ('describe', 'watch', 'logs', 'metrics', 'wait', 'cancel', 'config'):
            with self.subTest(verb=verb):
                self.assertEqual(self.ctl(verb, 'nobody', code=4).stderr, "reidctl: there is no job 'nobody'\n")

    def test_refused(self):
        for status, code in (('PRECONDITION', 5), ('EXHAUSTED', 5), ('PERMISSION', 5), ('EXISTS', 5), ('INVALID', 2),
                             ('INTERNAL', 1)):
            self.fake.do('fail', method='JobService/Submit', status=STATUS[status], sentence=f'no \x1b[2J{status}')
            self.assertEqual(self.ctl('submit', CONFIG, code=code).stderr, f'reidctl: no ?[2J{status}\n')

    def test_timeout(self):
        self.fake.job('aaa11111')
        begin = time.monotonic()
        self.assertIn('within 0.3 s', self.ctl('wait', '--timeout', '0.3', 'demo', code=124).stderr)
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)

    def test_interrupt_detaches(self):
        self.fake.job('aaa11111')
        self.fake.row('aaa11111')
        for args, streams in ((['watch'], 2), (['metrics', '-f'], 1), (['logs', '-f'], 1), (['wait'], 1)):
            with self.subTest(args=args):
                follow = self.start(*args, 'demo')
                self.fake.wait_streams(streams)
                begin = time.monotonic()
                follow.send_signal(signal.SIGINT)
                self.end(follow)
                self.assertEqual(follow.returncode, 130)
                self.assertLess(time.monotonic() - begin, 1 * PATIENCE)
                self.fake.wait_streams(0)
        self.assertEqual(self.fake.last(), {'id': 'aaa11111'})  # of Watch, not of Cancel


class Restarts(Case):
    def restart(self, meanwhile):
        self.fake.do('drop')
        meanwhile()
        self.fake.do('listen')

    def assertOneMessage(self, err):
        self.assertRegex(err, r'^reidctl: .*lost.*the job goes on\n$')

    def test_metrics_go_on(self):
        self.fake.job('aaa11111')
        for _ in range(3):
            self.fake.row('aaa11111')
        follow = self.start('metrics', '-f', 'demo')
        lines = [follow.stdout.readline() for _ in range(3)]
        self.restart(lambda: [self.fake.row('aaa11111') for _ in range(2)])
        self.fake.wait_streams(1)
        self.assertEqual(self.fake.last(), {'id': 'aaa11111', 'attempt': 1, 'seq': 3, 'follow': True})
        self.fake.row('aaa11111')
        self.fake.job('aaa11111', state=SUCCEEDED)
        out, err = self.end(follow)
        self.assertEqual(follow.returncode, 0, err)
        self.assertEqual([json.loads(line)['seq'] for line in lines + out.splitlines()], [1, 2, 3, 4, 5, 6])
        self.assertOneMessage(err)

    def test_logs_go_on(self):
        self.fake.job('aaa11111')
        self.fake.do('log', id='aaa11111', rank=0, text='1\n2\n3\n')
        self.fake.do('log', id='aaa11111', rank=1, text='a\nb\n')
        follow = self.start('logs', '-f', '--tail', '1', 'demo')
        lines = [follow.stdout.readline() for _ in range(2)]
        self.assertEqual(lines, ['[0] 3\n', '[1] b\n'])
        self.restart(lambda: self.fake.do('log', id='aaa11111', rank=0, text='4\n5'))
        self.fake.wait_streams(1)
        self.fake.do('log', id='aaa11111', rank=0, text=' and more\n')
        self.fake.do('log', id='aaa11111', rank=1, text='c\n')
        self.fake.job('aaa11111', state=SUCCEEDED)
        out, err = self.end(follow)
        self.assertEqual(out.splitlines(), ['[0] 4', '[0] 5 and more', '[1] c'])
        self.assertOneMessage(err)

    def test_wait_and_watch_go_on(self):
        self.fake.job('aaa11111', name='one')
        self.fake.row('aaa11111')
        follows = [self.start('wait', 'one'), self.start('watch', 'one')]
        self.fake.wait_streams(3)

        def meanwhile():
            self.fake.job('aaa11111', iteration=50)
            self.fake.job('bbb22222', name='one')  # the name means another job now
        self.restart(meanwhile)
        self.fake.wait_streams(3)
        self.fake.row('aaa11111', total_loss=0.5)
        self.fake.job('aaa11111', state=FAILED, failure='no more', exit_code=1, iteration=60)
        for follow in follows:
            out, err = self.end(follow)
            self.assertEqual(follow.returncode, 1, err)
            message, end = err.splitlines()
            self.assertOneMessage(message + '\n')
            self.assertIn('job aaa11111 failed: no more', end)
        self.assertIn('iter 60/100  eta 1m15s  total_loss 0.5', out)

    def test_streams_that_end_too_early_begin_again(self):
        self.fake.job('aaa11111')
        self.fake.row('aaa11111')
        self.fake.do('log', id='aaa11111', rank=0, text='1\n')
        follows = [self.start('metrics', '-f', 'demo'), self.start('wait', 'demo'), self.start('watch', 'demo'),
                   self.start('logs', '-f', 'demo')]
        self.fake.wait_streams(5)
        self.fake.do('end_streams')
        self.fake.wait_streams(0)
        self.fake.wait_streams(5)
        self.fake.row('aaa11111')
        self.fake.job('aaa11111', state=SUCCEEDED)
        outputs = []
        for follow in follows:
            out, err = self.end(follow)
            self.assertEqual(follow.returncode, 0, err)
            self.assertRegex(err, '^reidctl: reidd has ended the stream.*\n$')
            outputs.append(out)
        self.assertEqual(outputs[0].count('\n'), 2)
        self.assertEqual(outputs[3], '[0] 1\n')

    def test_rows_left_out_are_asked_for_again(self):
        self.fake.job('aaa11111')
        self.fake.row('aaa11111')
        follow = self.start('metrics', '-f', 'demo')
        lines = [follow.stdout.readline()]
        self.fake.wait_streams(1)
        self.fake.row('aaa11111', 'skip')
        lines.append(follow.stdout.readline())
        self.fake.row('aaa11111')
        self.fake.job('aaa11111', state=SUCCEEDED)
        out, err = self.end(follow)
        self.assertEqual([json.loads(line)['seq'] for line in lines + out.splitlines()], [1, 2, 3])
        self.assertEqual(err, '')

    def test_gives_up(self):
        self.fake.job('aaa11111')
        follows = [self.start(*args, 'demo') for args in (['wait', '--reconnect', '0.4'], ['wait', '--reconnect=0'])]
        self.fake.wait_streams(2)
        begin = time.monotonic()
        self.fake.do('drop')
        errors = [self.end(follow)[1].splitlines() for follow in follows]
        self.assertEqual([follow.returncode for follow in follows], [3, 3])
        self.assertGreaterEqual(time.monotonic() - begin, 0.4)
        self.assertIn('not come back within 0.4 s', errors[0][1])
        self.assertEqual([len(lines) for lines in errors], [2, 1])

    def test_interrupt_and_timeout_while_it_is_away(self):
        self.fake.job('aaa11111')
        follow, wait = self.start('watch', 'demo'), self.start('wait', '--timeout', '0.5', 'demo')
        self.fake.wait_streams(3)
        self.fake.do('drop')
        self.assertIn('lost', follow.stderr.readline())
        follow.send_signal(signal.SIGINT)
        self.end(follow)
        self.end(wait)
        self.assertEqual((follow.returncode, wait.returncode), (130, 124))


class Output(Case):
    def test_reader_that_goes_ends_a_follow(self):
        self.fake.job('aaa11111')
        self.fake.row('aaa11111')
        for args in (['metrics', '-f'], ['watch'], ['logs', '-f']):
            with self.subTest(args=args):
                follow = self.start(*args, 'demo')
                if args[0] != 'logs':
                    follow.stdout.readline()
                self.fake.wait_streams(2 if args[0] == 'watch' else 1)
                follow.stdout.close()
                follow.stdout = None
                follow.wait(5 * PATIENCE)
                self.assertEqual(follow.returncode, -signal.SIGPIPE)
                self.assertEqual(follow.stderr.read(), '')

    def test_output_that_fails_is_told(self):
        with open('/dev/full', 'w') as full:
            done = subprocess.run([REIDCTL, 'ps'], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr), (1, 'reidctl: cannot write standard output: No space left on device\n'))
        done = subprocess.run(['sh', '-c', '"$0" ps >&- 2>&-; echo $?', REIDCTL], env=self.env, capture_output=True, text=True)
        self.assertEqual(done.stdout, '1\n')
        self.ctl('ps', stdin=subprocess.DEVNULL)

    def test_control_characters_never_come_through(self):
        evil = 'a\x1b[2Jb\x07c\nd\u009b31me\u202ef'
        clean = 'a?[2Jb?c d?31me?f'
        self.fake.job('aaa11111', name=evil, detail=evil, output_dir=evil, failure=evil)
        self.fake.row('aaa11111', **{evil + 'loss': 1.0, evil + '/mAP': 1.0})
        watch = self.start('watch', 'aaa11111')
        self.fake.wait_streams(2)
        terminal = self.terminal('watch', 'aaa11111', columns=120)
        terminal.wait_text(f'{clean}/mAP 1.00')
        self.assertIn(f'{clean} aaa11111  RUNNING training', terminal.screen().text())
        for args in (['ps'], ['describe', 'aaa']):
            self.assertIn(clean, self.ctl(*args).stdout)
        self.assertEqual(json.loads(self.ctl('describe', 'aaa', '-o', 'json').stdout)['name'], evil)
        self.fake.job('aaa11111', state=FAILED, exit_code=1)
        self.assertEqual(terminal.finish(), 1)
        terminal.screen()  # refuses what is not expected
        out, err = self.end(watch)
        self.assertRegex(out + err, re.compile(r'\A[\n -~…]*\Z'))
        self.assertIn(f'failed: {clean}', err)


class Picture(Case):
    def feed(self, count=5, **more):
        self.fake.job('aaa11111', iteration=40, epoch=4)
        for i in range(count):
            self.fake.row('aaa11111', total_loss=5.0 - i, loss_cls=3.0, lr=0.00035, time=0.05, data_time=0.001, **more)

    def test_is_redrawn_in_place(self):
        self.feed()
        terminal = self.terminal('watch', 'demo')
        terminal.wait_text('total_loss')
        for iteration in (41, 42, 43):
            self.fake.row('aaa11111', total_loss=0.5)
            self.fake.job('aaa11111', iteration=iteration)
            terminal.wait_text(f'iter {iteration}/100')
        self.fake.row('aaa11111', **{'mAP': 12.34})
        terminal.wait_text('mAP 12.34')
        self.fake.job('aaa11111', state=SUCCEEDED, iteration=100, epoch=10, ended_ms=int(time.time() * 1000))
        self.assertEqual(terminal.finish(), 0)
        screen = terminal.screen()
        self.assertEqual((screen.wrapped, screen.cut, screen.wrap), (0, 0, True))
        self.assertGreater(screen.colors, 0)
        lines = screen.text().splitlines()
        self.assertRegex(lines[0], r'^demo aaa11111  SUCCEEDED  1m2\ds$')
        self.assertRegex(lines[1], r'^▕█+▏ 100%  epoch 10/10  iter 100/100  eta 1m15s$')
        self.assertRegex(lines[2], r'^  total_loss            0.5  █▇▅▃▁▁▁▁$')
        self.assertRegex(lines[3], r'^  loss_cls                3  ▁{5}$')
        self.assertEqual(lines[4], '  lr 3.50e-04  500 images/s  50 ms/step  1.0 ms waiting for data')
        self.assertEqual(lines[5], '  after epoch 1  mAP 12.34')
        self.assertEqual(lines[6:], ['job aaa11111 succeeded; its files are in /srv/out'])

    def test_terminal_sizes(self):
        self.feed(**{f'loss_{i:02}': i for i in range(10)}, **{'Rank-1': 50.0})
        for columns, lines in ((20, 5), (33, 10), (41, 24), (80, 8), (300, 50)):
            with self.subTest(columns=columns, lines=lines):
                terminal = self.terminal('watch', 'demo', columns=columns, lines=lines)
                terminal.wait_text('total_loss' if lines > 5 else 'demo')
                for _ in range(2):
                    before = len(terminal.raw)
                    wait_until(lambda: terminal.read(0.1) and len(terminal.raw) > before, 'it is drawn again')
                screen = terminal.screen()
                self.assertEqual((screen.wrapped, screen.cut), (0, 0))
                terminal.type('\x03')
                self.assertEqual(terminal.finish(), 130)
                screen = terminal.screen()
                self.assertEqual(screen.text().count('demo aaa11111'), 1)
                self.assertIn('detached', screen.text().replace('\n', ''))

    def test_becomes_narrower(self):
        self.feed()
        terminal = self.terminal('watch', 'demo', columns=100)
        terminal.wait_text('total_loss')
        seen = len(terminal.raw)
        terminal.resize(50, 24)
        wait_until(lambda: terminal.read(0.1) and '\x1b[J' in terminal.raw[seen:], 'it is drawn again')
        moved = int(re.search(r'\x1b\[(\d+)A', terminal.raw[seen:]).group(1))
        self.assertEqual(moved, 5 + 2, 'the bar and the rates are two lines each now')
        terminal.type('\x03')
        self.assertEqual(terminal.finish(), 130)

    def test_restart_is_shown_in_the_picture(self):
        self.feed()
        terminal = self.terminal('watch', 'demo')
        terminal.wait_text('total_loss')
        self.fake.do('drop')
        terminal.wait_text('reidd is away')
        self.fake.do('listen')
        self.fake.wait_streams(2)
        self.fake.job('aaa11111', iteration=77)
        terminal.wait_text('iter 77/100')
        self.assertNotIn('away', terminal.screen().text())
        terminal.type('\x03')
        self.assertEqual(terminal.finish(), 130)
        self.assertEqual(terminal.screen().text().splitlines()[-1],
                         'reidctl: detached, the job goes on; reidctl watch aaa11111 looks again'[:80])

    def test_no_color_and_dumb_terminals(self):
        self.feed()
        terminal = self.terminal('watch', 'demo', NO_COLOR='1')
        terminal.wait_text('total_loss')
        terminal.type('\x03')
        terminal.finish()
        self.assertEqual(terminal.screen().colors, 0)
        for verb in ('ps', 'describe'):
            terminal = self.terminal(*([verb, 'demo'] if verb == 'describe' else [verb]), NO_COLOR='1')
            self.assertEqual(terminal.finish(), 0)
            self.assertNotIn('\x1b', terminal.raw)
        terminal = self.terminal('watch', 'demo', TERM='dumb')
        terminal.wait_text('job aaa11111 (demo) RUNNING: training')
        terminal.type('\x03')
        self.assertEqual(terminal.finish(), 130)
        self.assertNotIn('\x1b', terminal.raw)

    def test_ps_fits_the_terminal(self):
        self.fake.job('aaa11111', name='n' * 64)
        terminal = self.terminal('ps', columns=90)
        self.assertEqual(terminal.finish(), 0)
        screen = terminal.screen()
        self.assertEqual(screen.wrapped, 0)
        self.assertRegex(screen.text().splitlines()[1], r'^aaa11111  n+…  ada')
        self.assertIn('n' * 64, self.ctl('ps').stdout)

    def test_long_history(self):
        self.fake.job('aaa11111', iteration=99, name='x' * 500)
        self.fake.do('rows', id='aaa11111', count=100_000)
        terminal = self.terminal('watch', 'aaa')
        terminal.wait_text('0.00999', 20 * PATIENCE)  # 1000 / 100100
        self.fake.job('aaa11111', state=SUCCEEDED)
        self.assertEqual(terminal.finish(), 0)
        screen = terminal.screen()
        self.assertEqual((screen.wrapped, screen.cut), (0, 0))
        self.assertRegex(screen.text(), r'total_loss +0\.00999  █[▁▂▃▄▅▆▇█]{40,}▁\n')
        self.assertEqual(self.ctl('metrics', '--names', 'total*', 'aaa').stdout.count('\n'), 100_000)


class Words(Case):
    """Control words, hooks in the training, forks, events: one request, one answer."""
    def setUp(self):
        super().setUp()
        self.fake.job('aaa11111', iteration=11)

    def test_words(self):
        self.assertEqual(self.ctl('set', 'demo', 'lr=0.2', '--reason', 'slow').stdout, 'lr 0.1 -> 0.2 before iteration 12\n')
        self.assertEqual(self.fake.last(), {'id': 'demo', 'settings': [{'name': 'lr', 'value': '0.2'}], 'reason': 'slow'})
        for word in ('skip-step', 'skip'):
            self.assertEqual(self.ctl(word, 'demo', '--at-iter', 12).stdout, 'skip_step before iteration 12\n')
            self.assertEqual(self.fake.last(), {'id': 'demo', 'at_iter': 12})
        self.assertEqual(self.ctl('profile', 'demo', '--steps=3').stdout, 'profile steps 3 before iteration 12\n')
        self.assertEqual(self.fake.last(), {'id': 'demo', 'steps': 3})
        entry = json.loads(self.ctl('profile', 'demo', '-o', 'json').stdout)
        self.assertEqual((entry['kind'], entry['new'], entry['iteration']), ('profile', '10', 12))
        self.fake.do('fail', method='ControlService/SkipStep', status=STATUS['PRECONDITION'], sentence='too late')
        self.assertEqual(self.ctl('skip', 'demo', code=5).stderr, 'reidctl: too late\n')

    def test_add(self):
        script = self.folder / 'decay.lua'
        script.write_text('function after_step(t) end -- grün\n')
        done = self.ctl('hook', 'add', 'demo', script, 'gamma=0.1', '--every', 10, '--when', 'total_loss > 5', '--on-error',
                        'fail', '--at-iter', 12, '--reason', 'why')
        self.assertEqual((done.stdout, done.stderr), ('3\n', ''))
        self.assertEqual(self.fake.last(), {
            'job': 'demo', 'name': 'decay', 'lua': script.read_text(), 'options': [{'name': 'gamma', 'value': '0.1'}],
            'every': 10, 'when': 'total_loss > 5', 'on_error': 3, 'at_iter': 12, 'reason': 'why'})
        entry = json.loads(self.ctl('hook', 'add', 'demo', 'example.so', '--name', 'mine', '-o', 'json').stdout)
        self.assertEqual((entry['seq'], entry['kind'], entry['name']), (3, 'hook_add', 'mine'))
        self.assertEqual(self.fake.last(), {'job': 'demo', 'name': 'mine', 'native': 'example.so'})
        for words in (['MemoryStats', 'period=5'], ['--builtin', 'MemoryStats', 'period=5']):
            self.ctl('hook', 'add', 'demo', *words)
            self.assertEqual(self.fake.last(), {'job': 'demo', 'builtin': 'MemoryStats',
                                                'options': [{'name': 'period', 'value': '5'}]})

    def test_change(self):
        for verb, kind in (('remove', 'hook_remove'), ('rm', 'hook_remove'), ('enable', 'hook_enable'), ('disable', 'hook_disable')):
            self.assertEqual(self.ctl('hook', verb, 'demo', '3').stdout, f'{kind} decay (3) before iteration 12\n')
            self.assertEqual(self.fake.last(), {'job': 'demo', 'hook': 3})
            self.ctl('hook', verb, 'demo', 'decay', '--reason', 'x')
            self.assertEqual(self.fake.last(), {'job': 'demo', 'name': 'decay', 'reason': 'x'})
        self.fake.do('fail', method='HookService/Remove', status=STATUS['NOT_FOUND'], sentence='there is no hook 3')
        self.assertEqual(self.ctl('hook', 'rm', 'demo', '3', code=4).stderr, 'reidctl: there is no hook 3\n')

    def test_list_and_describe(self):
        self.fake.do('hook', id='aaa11111', hook=0, name='PeriodicWriter', kind='builtin', state=1)
        self.fake.do('hook', id='aaa11111', hook=3, name='decay', kind='lua', state=2, every=10, when='total_loss > 5', calls=4,
                     seconds=0.002, late=1, last_error='decay:3: no \x1b[2Jsuch field')
        lines = self.ctl('hook', 'ls', 'demo').stdout.splitlines()
        self.assertEqual(lines[0].split(), 'ID NAME KIND STATE POINTS EVERY CALLS TIME/CALL LATE MISSED WHEN LAST-ERROR'.split())
        self.assertEqual(lines[1].split(), '- PeriodicWriter builtin ENABLED after_step,after_epoch - - - - - - -'.split())
        self.assertEqual(lines[2].split(maxsplit=10), ['3', 'decay', 'lua', 'DISABLED', 'after_step,after_epoch', '10', '4', '0.500ms',
                                                       '1', '-', 'total_loss > 5  decay:3: no ?[2Jsuch field'])
        hooks = json.loads(self.ctl('hook', 'list', 'demo', '-o', 'json').stdout)
        self.assertEqual([hook['id'] for hook in hooks], [None, 3])
        self.assertEqual((hooks[1]['points'], hooks[1]['calls'], hooks[1]['seconds']), (['after_step', 'after_epoch'], 4, 0.002))
        self.fake.do('event', id='aaa11111', number=1, wall_ms=1_700_000_000_000, kind='state', detail='RUNNING')
        for number in range(2, 8):
            self.fake.do('event', id='aaa11111', number=number, kind='hook', detail=f'sentence {number}')
        text = self.ctl('describe', 'demo').stdout
        self.assertRegex(text, r'\nHooks\n +3  decay  lua  DISABLED  decay:3: no \?\[2Jsuch field\nEvents\n')
        self.assertEqual(re.findall(r'hook +(sentence \d)', text), [f'sentence {n}' for n in range(3, 8)])
        self.assertEqual(json.loads(self.ctl('describe', 'demo', '-o', 'json').stdout)['hooks'], hooks)
        self.fake.job('aaa11111', state=SUCCEEDED)
        self.assertNotIn('Hooks', self.ctl('describe', 'demo').stdout)

    def test_events(self):
        self.fake.do('event', id='aaa11111', number=1, wall_ms=1_700_000_000_000, kind='state', detail='PENDING')
        self.fake.do('event', id='aaa11111', number=2, kind='journal', detail=json.dumps(
            {'seq': 1, 'who': 'ada', 'iteration': 30, 'kind': 'set', 'name': 'lr', 'old': '0.1', 'new': '0.2', 'reason': 'slow'}))
        lines = self.ctl('events', 'demo').stdout.splitlines()
        self.assertEqual(lines[0].split(), ['NUMBER', 'WHEN', 'KIND', 'DETAIL'])
        self.assertRegex(lines[1], r'^     1  2023-11-1\dT\d\d:\d\d:20  state     PENDING$')
        self.assertRegex(lines[2], r'^     2  .*  journal   set lr 0\.1 -> 0\.2 before iteration 30, by ada: slow$')
        event = json.loads(self.ctl('events', 'demo', '-o', 'json').stdout.splitlines()[1])
        self.assertEqual((event['number'], event['kind'], json.loads(event['detail'])['new']), (2, 'journal', '0.2'))
        follow = self.start('events', '-f', 'demo', '--no-headers')
        self.assertEqual([follow.stdout.readline().split()[0] for _ in range(2)], ['1', '2'])
        self.fake.do('drop')
        self.fake.do('event', id='aaa11111', number=3, kind='hook', detail='a \x1b[2J hook')
        self.fake.do('listen')
        self.fake.wait_streams(1)
        self.assertEqual(self.fake.last(), {'id': 'aaa11111', 'after': 2, 'follow': True})
        self.fake.job('aaa11111', state=SUCCEEDED)
        out, err = self.end(follow)
        self.assertEqual(follow.returncode, 0, err)
        self.assertEqual(out.split(maxsplit=3)[::2], ['3', 'hook'])
        self.assertIn('a ?[2J hook', out)

    def test_audit_is_short(self):
        self.fake.do('event', id='aaa11111', number=1, kind='hook_add', detail=json.dumps(
            {'kind': 'lua', 'source': 'x = 1\n' * 5000, 'every': 5, 'points': ['after_step']}))
        line = self.ctl('audit', 'demo', '--no-headers').stdout
        self.assertIn('lua (30000 bytes), after_step, every 5', line)
        self.assertLess(len(line), 200)
        self.assertIn('x = 1', json.loads(self.ctl('audit', 'demo', '-o', 'json').stdout)['new'])

    def test_mistakes_are_one_sentence(self):
        text = self.folder / 'zero.lua'
        text.write_bytes(b'x = 1\0')
        large = self.folder / 'large.lua'
        large.write_text('x = 1\n' * 20_000)
        cases = [(['hook'], 'verb'), (['hook', 'ad'], "did you mean 'hook add'?"), (['hook', 'add', 'demo'], 'WHAT'),
                 (['hook', 'add', 'demo', 'nothing.lua'], 'nothing.lua'), (['hook', 'add', 'demo', text], 'no text'),
                 (['hook', 'add', 'demo', large], 'large.lua'), (['hook', 'add', 'demo', 'a/b.so'], 'folder'),
                 (['hook', 'add', 'demo', 'X', 'option'], 'NAME=VALUE'), (['hook', 'add', 'demo', 'X', '--on-error', 'stop'], 'stop'),
                 (['hook', 'add', 'demo', 'X', '--points', 'after_step'], '--exec'), (['hook', 'add', 'demo', 'X', '--async'], '--exec'),
                 (['hook', 'add', 'demo', '--exec', 'cat', '--at-iter', '3'], '--at-iter'),
                 (['hook', 'add', 'demo', '--exec', 'cat', '--points', 'step'], "'step'"),
                 (['hook', 'add', 'demo', '--exec', 'cat', '--deadline', '0'], 'more than 0'),
                 (['hook', 'add', 'demo', '--exec', 'cat', '--deadline', '61'], 'at most 60'),
                 (['hook', 'add', 'demo', '--exec', 'cat', '--async', '--on-late', 'fail'], '--on-late'),
                 (['hook', 'add', 'demo', '--exec', '/nothing/here'], "cannot run '/nothing/here'"),
                 (['hook', 'remove', 'demo'], 'JOB HOOK'), (['profile', 'demo', '--steps', '0'], '--steps')]
        for args, word in cases:
            with self.subTest(args=args):
                done = self.ctl(*args, code=2)
                self.assertEqual((done.stdout, len(done.stderr.splitlines())), ('', 1), done.stderr)
                self.assertIn(word, done.stderr)
        for args in (['hook', 'list'], ['hook', 'add', '--exec', 'cat'], ['hook', 'add', '--builtin', 'X'], ['events'], ['fork'], ['skip']):
            self.assertEqual(self.ctl(*args, 'nobody', code=4).stderr, "reidctl: there is no job 'nobody'\n")


class Fork(Case):
    def setUp(self):
        super().setUp()
        self.source = self.folder / 'source'
        yaml = self.ctl('submit', '--dry-run', CONFIG, 'SOLVER.MAX_EPOCH=7', f'OUTPUT_DIR={self.source}').stdout
        self.fake.job('aaa11111', config_yaml=yaml, ranks=2)

    def fork(self, *args):
        done = self.ctl('fork', 'demo', *args)
        self.assertEqual(done.stderr, '')
        request = self.fake.last()
        config = request.pop('config_yaml')
        return done.stdout, request, re.search(r'^OUTPUT_DIR: (.*)$', config, re.M).group(1), config

    def test_request(self):
        out, request, folder, config = self.fork('--at-iter', 30, 'SOLVER.BASE_LR', '0.1', 'SEED=-1', '--name', 'child')
        self.assertEqual((out, request), ('j0000002\n', {'name': 'child', 'ranks': 2, 'fork': {'job': 'aaa11111', 'at_iter': 30}}))
        self.assertEqual(folder, f'{self.source}-fork-30')
        self.assertIn('MAX_EPOCH: 7\n', config)
        self.assertIn('\nSEED: -1\n', config)
        self.assertRegex(config, r'\n +BASE_LR: 0\.1\n')

    def test_folders(self):
        self.assertEqual(self.fork()[1:3], ({'ranks': 2, 'fork': {'job': 'aaa11111'}}, f'{self.source}-fork'))
        for name in ('-fork', '-fork-3', '-fork-3.2'):
            pathlib.Path(f'{self.source}{name}').mkdir()
        self.assertEqual(self.fork('-n', 4)[1:3], ({'ranks': 4, 'fork': {'job': 'aaa11111'}}, f'{self.source}-fork.2'))
        self.assertEqual(self.fork('--at-iter', 3)[2], f'{self.source}-fork-3.3')
        self.assertEqual(self.fork('OUTPUT_DIR', 'mine')[2], f'{self.folder}/mine')
        self.assertEqual(self.fork('OUTPUT_DIR', self.source)[2], str(self.source))  # for reidd to refuse

    def test_dry_run_and_mistakes(self):
        self.assertIn(f'OUTPUT_DIR: {self.source}-fork-3\n', self.ctl('fork', 'demo', '--at-iter', 3, '--dry-run').stdout)
        self.assertEqual(self.ctl('ps', '-aq').stdout.split(), ['aaa11111'])
        for args, word in ((['SOLVER.LR', '1'], 'SOLVER.LR'), (['lr=1'], 'lr'), (['SEED'], 'SEED'), (['-n', '3'], '3'),
                           (['-f', '-o', 'json'], 'json'), (['--at-iter', '0'], '--at-iter')):
            done = self.ctl('fork', 'demo', *args, code=2)
            self.assertEqual((done.stdout, len(done.stderr.splitlines())), ('', 1), done.stderr)
            self.assertIn(word, done.stderr)
        self.fake.do('fail', method='JobService/Submit', status=STATUS['PRECONDITION'], sentence='iteration 3 has not come')
        self.assertEqual(self.ctl('fork', 'demo', code=5).stderr, 'reidctl: iteration 3 has not come\n')


class Program(Case):
    """hook add --exec: reidctl between reidd and a program."""
    def setUp(self):
        super().setUp()
        self.fake.job('aaa11111')

    def attach(self, *args):
        process = self.start('hook', 'add', 'demo', *args)
        self.fake.wait_attach(lambda a: a['open'] and 'request' in a, 'it is registered')
        return process

    def shell(self, script, *options):
        """A hook that is a shell script, attached."""
        process = self.attach(*options, '--exec', 'sh', '--', '-c', script)
        self.fake.do('attached')
        self.assertEqual(process.stdout.readline(), '3\n')
        return process

    def verdicts(self, count):
        return self.fake.wait_attach(lambda a: len(a['verdicts']) >= count, f'{count} verdicts')['verdicts']

    def finish(self, process, code, err='', status=0):
        """The program leaves: what reidd does then."""
        self.fake.wait_attach(lambda a: a['half_closed'], 'it leaves')
        self.fake.do('end_attach', status=status)
        self.assertEnd(process, code, err)

    def assertEnd(self, process, code, err=''):
        out, said = self.end(process)
        self.assertEqual((process.returncode, out), (code, ''), said)
        self.assertRegex(said, f'^{err}$')

    def test_registration(self):
        self.attach('--points', 'before_step,after_epoch', '--every', '5', '--when', 'iter > 3', '--scalars', 'loss*,lr',
                    '--deadline', '2.5', '--on-late', 'disable', '--on-lost', 'fail', '--on-error', 'ignore', '--reason', 'why',
                    '--exec', '/bin/cat')
        self.assertEqual(self.fake.attach()['request'], {
            'job': 'aaa11111', 'name': 'cat', 'points': [5, 4], 'every': 5, 'when': 'iter > 3', 'scalars': ['loss*', 'lr'],
            'deadline_seconds': 2.5, 'on_late': 2, 'on_lost': 3, 'on_error': 1, 'reason': 'why'})
        self.attach('--async', '--name', 'mine', '--exec', 'cat')
        self.fake.wait_attach(lambda a: a['request'] == {'job': 'aaa11111', 'name': 'mine', 'points': [6], 'asynchronous': True},
                              'the other one is registered')

    def test_what_it_reads(self):
        process = self.shell('tee read >/dev/null')
        self.fake.do('hook_event', number=1, point=6, iteration=12, scalars={'total_loss': 4.5, 'odd "name"': None})
        read = self.folder / 'read'
        wait_until(lambda: read.exists() and read.read_text().count('\n') == 2, 'it has read two lines')
        attached, event = map(json.loads, read.read_text().splitlines())
        self.assertEqual(attached, {'type': 'attached', 'job': 'aaa11111', 'hook': 3, 'iteration': 12})
        self.assertNotEqual(event['scalars'].pop('odd "name"'), 0)  # NaN
        self.assertEqual(event, {'type': 'event', 'number': 1, 'point': 'after_step', 'epoch': 0, 'iter': 12, 'max_iter': 100,
                                 'max_epoch': 10, 'lr': 0.00035, 'scalars': {'total_loss': 4.5}})
        self.fake.do('end_attach')
        self.assertEnd(process, 0)

    def test_the_simplest_hook(self):
        """It answers "attached", too; its answers stay with their events all the same."""
        process = self.shell('while read -r line; do echo "$line" >>read; echo continue; done')
        for number in range(1, 6):
            self.fake.do('hook_event', number=number)
            self.assertEqual(self.verdicts(number)[-1], {'event': number})
        self.fake.do('end_attach')
        self.assertEnd(process, 0)
        self.assertEqual((self.folder / 'read').read_text().count('\n'), 6)
        self.assertEqual(len(self.fake.attach()['verdicts']), 5)

    def test_answers(self):
        answers = ['', 'continue', '{}', 'stop enough', '{"stop": true, "checkpoint": true}', 'set lr=1e-4 clip=2',
                   '{"set": {"lr": 1e-4}, "put": {"x": 1.5}}', 'skip_step', 'evaluate', 'error no disk']
        expected = [[], [], [], [{'stop': {'reason': 'enough'}}], [{'stop': {}}, {'checkpoint': {}}],
                    [{'set': {'settings': [{'name': 'lr', 'value': '1e-4'}, {'name': 'clip', 'value': '2'}]}}],
                    [{'set': {'settings': [{'name': 'lr', 'value': '0.0001'}]}}, {'put_scalar': {'name': 'x', 'value': 1.5}}],
                    [{'skip_step': {}}], [{'evaluate': {}}], None]
        (self.folder / 'answers').write_text('\n'.join(answers) + '\n')
        process = self.shell('read -r attached; exec 3<answers; while read -r event && IFS= read -r answer <&3; do printf "%s\\n" "$answer"; done')
        for number, actions in enumerate(expected, 1):
            self.fake.do('hook_event', number=number * 10)
            verdict = self.verdicts(number)[-1]
            self.assertEqual(verdict.pop('event'), number * 10)
            self.assertEqual(verdict, {'error': 'no disk'} if actions is None else {'actions': actions} if actions else {})
        self.fake.do('end_attach')
        self.assertEnd(process, 0)

    def test_an_answer_to_attached(self):
        """It does not count, but for a failure; a late one is not lost."""
        process = self.shell('read -r attached; echo checkpoint; touch answered; while read -r event; do echo put x=1; done')
        wait_until((self.folder / 'answered').exists, 'it has answered')
        self.fake.do('hook_event', number=1)
        verdict, = self.verdicts(1)
        if verdict != {'event': 1, 'actions': [{'put_scalar': {'name': 'x', 'value': 1.0}}]}:  # it was slow
            self.assertEqual(verdict, {'event': 1, 'actions': [{'checkpoint': {}}]})
            self.fake.do('hook_event', number=2)
            self.assertEqual(self.verdicts(2)[1]['actions'][0], {'put_scalar': {'name': 'x', 'value': 1.0}})
        self.fake.do('end_attach')
        self.assertEnd(process, 0)
        process = self.shell('read -r attached; echo error no disk; cat >/dev/null', '--on-error', 'fail')
        self.assertEqual(process.stderr.readline(), 'reidctl: no disk\n')
        self.fake.do('hook_event', number=3)
        self.assertEqual(self.verdicts(1), [{'event': 3, 'error': 'no disk'}])
        self.finish(process, 1)

    def test_it_leaves_when_it_ends(self):
        process = self.shell('read -r attached; read -r event; exit 0')
        self.fake.do('hook_event', number=1)
        self.finish(process, 0)
        self.assertEqual(self.fake.attach()['verdicts'], [{'event': 1}], 'nobody waits for it in vain')

    def test_it_fails(self):
        for script, sentence in (('exit 3', 'sh ended with exit status 3'), ('kill -9 $$', r'sh was ended by signal 9 \(Killed\)'),
                                 ('echo nonsense; cat', "sh wrote what no hook may answer: there is no answer 'nonsense'"),
                                 ('echo; echo; echo; cat', 'sh wrote a line that answers nothing: '),
                                 ('head -c 100000 /dev/zero | tr "\\0" x; cat', 'a line of sh is longer than 65536 bytes'),
                                 ('exec 0<&- 1>&-; exit 4', 'sh ended with exit status 4')):
            with self.subTest(script=script):
                process = self.shell(f'read -r attached; read -r event; {script}')
                self.fake.do('hook_event', number=7)
                answer = self.verdicts(1)[0]
                if 'answers nothing' in sentence:
                    self.assertEqual(answer, {'event': 7})
                    self.fake.do('hook_event', number=8)
                    answer = self.verdicts(2)[1]
                    self.assertEqual(answer.pop('event'), 8)
                else:
                    self.assertEqual(answer.pop('event'), 7)
                self.assertRegex(answer['error'], f'^{sentence}')
                self.finish(process, 1, f'reidctl: {sentence}\n')

    def test_it_fails_between_events(self):
        """The next event is answered with the failure, so that the policy applies."""
        process = self.shell('read -r attached; exit 3', '--on-error', 'fail')
        self.assertEqual(process.stderr.readline(), 'reidctl: sh ended with exit status 3\n')
        self.assertFalse(self.fake.attach()['half_closed'])
        self.fake.do('hook_event', number=9)
        self.assertEqual(self.verdicts(1), [{'event': 9, 'error': 'sh ended with exit status 3'}])
        self.finish(process, 1)

    def test_interrupt(self):
        process = self.shell('read -r attached; read -r event; cat >/dev/null; echo ended >end')
        self.fake.do('hook_event', number=1)
        process.send_signal(signal.SIGINT)
        self.finish(process, 130)
        self.assertEqual((self.folder / 'end').read_text(), 'ended\n', 'the program itself was not interrupted')
        for event in self.fake.attach()['verdicts']:
            self.assertEqual(event, {'event': 1})

    def test_interrupt_before_it_is_attached(self):
        process = self.attach('--exec', 'cat')
        process.send_signal(signal.SIGTERM)
        self.assertEnd(process, 130)
        self.assertFalse(self.fake.wait_attach(lambda a: not a['open'], 'the call has ended')['half_closed'])

    def test_second_interrupt_ends_at_once(self):
        process = self.shell('trap "" TERM; while :; do sleep 0.1; done')
        process.send_signal(signal.SIGINT)
        self.fake.wait_attach(lambda a: a['half_closed'], 'it leaves')
        process.send_signal(signal.SIGINT)
        self.assertEnd(process, 130)

    def test_the_training_ends(self):
        process = self.shell('cat >/dev/null; echo "its last words" >&2; exit 5')
        self.fake.do('hook_event', number=1)
        self.fake.do('end_attach')
        self.assertEnd(process, 0, 'its last words\nreidctl: sh ended with exit status 5\n')

    def test_the_stream_breaks(self):
        for verb, what, code, sentence in (
                ('drop', {}, 3, 'reidctl: the connection to reidd .*was lost.*\n'),
                ('end_attach', {'status': STATUS['INVALID'], 'sentence': 'no such \x1b[2Jevent'}, 2, r'reidctl: no such \?\[2Jevent\n'),
                ('end_attach', {'status': STATUS['PRECONDITION'], 'sentence': 'the job has ended'}, 5, 'reidctl: the job has ended\n')):
            with self.subTest(verb=verb, code=code):
                process = self.shell('cat >/dev/null')
                self.fake.do(verb, **what)
                self.assertEnd(process, code, sentence)
                self.fake.do('listen')

    def test_notices(self):
        process = self.shell('while read -r line; do echo; done')
        self.fake.do('notice', state=2, sentence='it was late')
        self.assertEqual(process.stderr.readline(), 'reidctl: the hook is not called any more until it is enabled: it was late\n')
        self.fake.do('notice', state=1)
        self.assertEqual(process.stderr.readline(), 'reidctl: the hook is called again\n')
        self.fake.do('hook_event', number=4)
        self.assertEqual(self.verdicts(1), [{'event': 4}])
        self.fake.do('notice', state=3, sentence='removed by ada')
        self.fake.do('end_attach')
        self.assertEnd(process, 0, 'reidctl: the hook is removed: removed by ada\n')

    def test_refused(self):
        self.fake.do('fail', method='HookService/Attach', status=STATUS['PRECONDITION'], sentence='the job has ended')
        self.assertEqual(self.ctl('hook', 'add', 'demo', '--exec', 'cat', code=5).stderr, 'reidctl: the job has ended\n')

    def memory(self, process):
        return int(re.search(r'VmRSS:\s+(\d+) kB', pathlib.Path(f'/proc/{process.pid}/status').read_text()).group(1))

    def test_a_program_that_does_not_read(self):
        self.env['ASAN_OPTIONS'] = self.env.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1'  # as if freed
        process = self.shell('exec sleep 60 2>/dev/null', '--async')
        before = self.memory(process)
        scalars = {f'a_long_name_of_a_metric_{i:02}': i / 3 for i in range(16)}
        for batch in range(20):
            first = batch * 1000 + 1
            self.assertEqual(self.fake.do('hook_events', first=first, count=1000, scalars=scalars), '1000')
            self.fake.wait_attach(lambda a: a['queued'] == 0, 'reidctl takes them')
        self.assertLess(self.memory(process) - before, 8 * 1024 * PATIENCE)
        process.send_signal(signal.SIGINT)
        self.fake.wait_attach(lambda a: a['half_closed'], 'it leaves')
        self.assertEqual([v['event'] for v in self.fake.attach()['verdicts']], list(range(1, 65)), 'those that it was given')
        process.send_signal(signal.SIGINT)
        self.assertEnd(process, 130, r'reidctl: sh was too slow for 19\d\d\d events, which it has not seen\n')

    def test_a_program_that_floods(self):
        process = self.shell('read -r attached; read -r event; exec yes', '--async')
        self.fake.do('hook_event', number=1)
        self.assertRegex(self.verdicts(1)[0]['error'], "^sh wrote what no hook may answer: there is no answer 'y'")
        self.finish(process, 1, "reidctl: sh wrote what .*\n")

    def test_many_events(self):
        process = self.shell('read -r attached; while read -r line; do echo "put n=1"; done')
        for first in range(1, 2001, 50):
            self.fake.do('hook_events', first=first, count=50)
            verdicts = self.verdicts(first + 49)
        self.assertEqual([v['event'] for v in verdicts], list(range(1, 2001)))
        self.fake.do('end_attach')
        self.assertEnd(process, 0)

    def test_json(self):
        process = self.attach('-o', 'json', '--exec', 'cat', '--points', 'after_train')
        self.fake.do('attached')
        self.assertEqual(json.loads(process.stdout.readline()), {'type': 'attached', 'job': 'aaa11111', 'hook': 3, 'iteration': 12})
        self.fake.do('end_attach')
        self.end(process)


class Completion(Case):
    def complete(self, *words):
        """What bash offers for the last word."""
        if not hasattr(self, 'script'):
            self.script = self.folder / 'completion'
            self.script.write_text(self.ctl('completion', 'bash').stdout)
            subprocess.run(['bash', '-n', self.script], check=True)
        code = ('source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _reidctl; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(['bash', '-c', code, self.script, REIDCTL, *words], env=self.env, capture_output=True,
                              text=True, check=True)
        self.assertEqual(done.stderr, '')
        return done.stdout.split()

    def test_words(self):
        self.fake.job('aaa11111', name='running')
        self.fake.job('bbb22222', name='$(touch${IFS}x)', state=SUCCEEDED)
        self.fake.job('ccc33333', name='ended', state=SUCCEEDED)
        self.assertEqual(self.complete('des'), ['describe'])
        self.assertLessEqual({'submit', 'ps', 'watch', 'help'}, set(self.complete('')))
        self.assertEqual(self.complete('--ver'), ['--version'])
        self.assertEqual(self.complete('ps', '--no'), ['--no-headers'])
        self.assertEqual(self.complete('ps', '-o', ''), ['table', 'json'])
        self.assertEqual(self.complete('ls', '--output', 'j'), ['json'])
        self.assertEqual(self.complete('metrics', '-o', ''), ['jsonl', 'csv'])
        self.assertEqual(self.complete('submit', '--name', ''), [])
        self.assertEqual(self.complete('submit', 'x.yml', 'SOLVER.WARMUP_I'), ['SOLVER.WARMUP_ITERS'])
        self.assertEqual(self.complete('submit', ''), [])
        self.assertEqual(set(self.complete('describe', '')), {'aaa11111', 'running', 'ccc33333', 'ended'})
        self.assertEqual(self.complete('cancel', 'ru'), ['running'])
        self.assertEqual(self.complete('-H', f'unix:{self.socket}', 'watch', 'e'), ['ended'])
        self.assertEqual(self.complete('help', 'com'), ['completion'])
        self.assertEqual(self.complete('hook', ''), ['add', 'list', 'remove', 'enable', 'disable'])
        self.assertEqual(self.complete('hook', 'l'), ['list'])
        self.assertEqual(self.complete('hook', 'add', 'ru'), ['running'])
        self.assertEqual(self.complete('hook', 'add', '--every', '3', 'ru'), ['running'])
        self.assertEqual(self.complete('hook', 'add', 'running', ''), [])  # files
        self.assertEqual(self.complete('hook', 'add', '--on-l'), ['--on-late', '--on-lost'])
        self.assertEqual(self.complete('hook', 'ls', '-o', ''), ['table', 'json'])
        self.assertEqual(self.complete('fork', 'en'), ['ended'])
        self.assertEqual(self.complete('fork', 'ended', 'SOLVER.WARMUP_I'), ['SOLVER.WARMUP_ITERS'])
        self.assertEqual(self.complete('submit', '--config-file', 'x.yml', 'SOLVER.WARMUP_I'), ['SOLVER.WARMUP_ITERS'])
        self.fake.do('hook', id='aaa11111', hook=3, name='decay', kind='lua', state=1)
        self.fake.do('hook', id='aaa11111', hook=0, name='EvalHook', kind='builtin', state=1)
        self.assertEqual(self.complete('hook', 'rm', 'running', ''), ['3', 'decay'])
        self.assertFalse((self.folder / 'x').exists())


if __name__ == '__main__':
    unittest.main(verbosity=2)
