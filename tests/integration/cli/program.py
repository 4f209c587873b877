#!/usr/bin/python3
"""reidctl hook add --exec: a program between reidd and the training."""
import json
import pathlib
import re
import signal

from playing import Case, PATIENCE, STATUS, main, wait_until


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


if __name__ == '__main__':
    main()
