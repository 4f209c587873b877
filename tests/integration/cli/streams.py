#!/usr/bin/python3
"""metrics, logs, wait and watch over restarts of the daemon, and output that goes nowhere."""
import json
import re
import signal
import subprocess
import time

from playing import Case, FAILED, PATIENCE, REIDCTL, SUCCEEDED, main


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


if __name__ == '__main__':
    main()
