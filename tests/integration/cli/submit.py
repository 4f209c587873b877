#!/usr/bin/python3
"""reidctl submit and fork: the request, its configuration and folders, mistakes."""
import json
import pathlib
import re

from playing import CONFIG, Case, STATUS, SUCCEEDED, main


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
        self.ctl('submit', '--max-restarts', 3, '--restart-backoff', '2.5', CONFIG)
        self.assertSubmitted(max_restarts=3, restart_backoff_seconds=2.5)
        self.ctl('submit', '--max-restarts=1', CONFIG)
        self.assertSubmitted(max_restarts=1)

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
                 (['-f', '-o', 'json', CONFIG], 'json'), (['-o', 'xml', CONFIG], 'text or json'),
                 (['--max-restarts', '-1', CONFIG], '--max-restarts'), (['--restart-backoff', '3', CONFIG], 'without --max-restarts'),
                 (['--max-restarts', '1', '--restart-backoff', '0', CONFIG], 'more than 0')]
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


if __name__ == '__main__':
    main()
