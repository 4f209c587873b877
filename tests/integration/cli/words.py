#!/usr/bin/python3
"""Control words, hooks in the training and their history: one request, one answer."""
import json
import re

from playing import Case, STATUS, SUCCEEDED, main


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

    def test_info_of_an_older_reidd(self):
        done = self.ctl('info')
        self.assertRegex(done.stdout, r'^reidd 9\.8\.7 on here at \S+: it is older than this reidctl, and does not tell who you are\n\n'
                                      r'It tells no limits either\.\n$')
        said = json.loads(self.ctl('info', '-o', 'json').stdout)
        self.assertEqual((said['version'], said['user'], said['role'], said['limits']), ('9.8.7', None, None, []))

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


if __name__ == '__main__':
    main()
