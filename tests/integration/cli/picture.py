#!/usr/bin/python3
"""reidctl watch on terminals of all sizes."""
import time

from playing import Case, SUCCEEDED, main, wait_until


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
        # The bar and the rates are two lines each now. A picture of before may still be on its way.
        wait_until(lambda: terminal.read(0.1) and f'\x1b[{5 + 2}A' in terminal.raw[seen:], 'it is drawn again, from seven lines up')
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
        terminal.wait_text('0.00999')  # 1000 / 100100
        self.fake.job('aaa11111', state=SUCCEEDED)
        self.assertEqual(terminal.finish(), 0)
        screen = terminal.screen()
        self.assertEqual((screen.wrapped, screen.cut), (0, 0))
        self.assertRegex(screen.text(), r'total_loss +0\.00999  █[▁▂▃▄▅▆▇█]{40,}▁\n')
        self.assertEqual(self.ctl('metrics', '--names', 'total*', 'aaa').stdout.count('\n'), 100_000)


if __name__ == '__main__':
    main()
