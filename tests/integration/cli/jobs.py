#!/usr/bin/python3
"""reidctl as its users run it: looking at jobs, cancelling, exit codes, completion."""
import csv
import io
import json
import re
import signal
import subprocess
import time

from playing import CANCELLED, CONFIG, Case, FAILED, PATIENCE, PENDING, REIDCTL, STATUS, SUCCEEDED, main


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
    main()
