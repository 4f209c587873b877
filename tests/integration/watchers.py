#!/usr/bin/python3
"""Very many who look on and read nothing, or all at once: memory of reidd stays small, those who read get every row, and what was taken
is given back. Bytes are counted, not times."""
import pathlib
import subprocess
import unittest

import common
import rawh2
from rawh2 import field

JOBS = '/reid.v1.JobService/'
ROWS, LINES = 20000, 20000
MIB = 1 << 20


class Watchers(common.Case):
    def setUp(self):
        self.daemon, self.peers = None, []

    def tearDown(self):
        self.leave()
        if self.daemon:
            self.daemon.ctl('cancel', '--grace', '0.2', 'fan')
            self.daemon.wait_state('fan', ('CANCELLED',), 20)
            self.daemon.stop()

    def begin(self, name, *options):
        """A job with many rows and lines that goes on."""
        self.daemon = common.Daemon(self.folder / name, '--slots', '1', '--trainer', str(common.BIN.parent / 'tests/reidd_fake_trainer'),
                                    *options)
        out = self.folder / f'{name}-out'
        out.mkdir()
        (out / 'script').write_text(f'link\nphase 2\nrows {ROWS}\nlast-row\nmark there\nwait go\n')
        done = self.daemon.ctl('submit', '--name', 'fan', common.CONFIG, 'DATASETS.ROOT', self.data, 'OUTPUT_DIR', out)
        self.assertEqual(done.returncode, 0, done.stderr)
        common.wait_for(lambda: (out / 'there').exists(), 60, 'all rows are stored')
        self.job = done.stdout.strip()
        logs = self.daemon.state / 'jobs' / self.job / 'attempt-1/logs'
        with open(next(path for path in logs.iterdir() if path.suffix == '.out'), 'a') as file:
            file.write(('a line of text\n' * 4) * (LINES // 4))

    def memory(self, what):
        return int(pathlib.Path(f'/proc/{self.daemon.process.pid}/status').read_text().split(what + ':')[1].split()[0]) * 1024

    def ask(self, count, method, window):
        message = field(1, self.job) + (b'' if method == 'Watch' else field(4 if method == 'Metrics' else 3, True))
        self.peers += [rawh2.call(self.daemon.socket, JOBS + method, message, window) for _ in range(count)]

    def leave(self):
        for peer in self.peers:
            peer.close()
        self.peers = []

    def read_all(self, readers):
        """reidctl gets every row, several at once."""
        command = [str(common.BIN / 'reidctl'), '-H', f'unix:{self.daemon.socket}', 'metrics', self.job]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(readers)]
        for process in running:
            lines = sum(chunk.count(b'\n') for chunk in iter(lambda p=process: p.stdout.read(1 << 20), b''))
            process.stdout.close()
            self.assertEqual((process.wait(), lines), (0, ROWS))

    @unittest.skipIf(common.SANITIZED, 'a sanitizer keeps memory')
    def test_memory(self):
        self.begin('memory')
        before = self.memory('VmRSS')
        for window in (0, rawh2.WIDE):  # they let nothing come; or only the socket holds it back
            for method in ('Watch', 'Metrics', 'Events', 'Logs'):
                self.ask(50, method, window)
        self.read_all(3)
        most = self.memory('VmHWM') - before
        print(f'\n{len(self.peers)} that read nothing: {most / MIB:.1f} MiB more')
        self.assertLess(most, 200 * MIB)  # some 0.03 MiB each, not 1
        self.leave()
        common.wait_for(lambda: self.memory('VmRSS') < before + 64 * MIB, 30, 'memory is given back')

    def test_budget(self):
        """A small one: those who read nothing leave room to those who do."""
        self.begin('budget', '--max-unread-bytes', str(2 * MIB))
        for method in ('Metrics', 'Logs'):
            self.ask(30, method, 0)
        self.read_all(2)
        self.assertIn('--max-unread-bytes', self.daemon.ctl('info').stdout)


if __name__ == '__main__':
    common.main()
