#!/usr/bin/python3
"""What fails around reidd: disks, the store, checkpoints, clocks, memory. Clear sentences, and nothing that was acknowledged is lost."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import unittest

import common

FAKE = common.BIN.parent / 'tests/reidd_fake_trainer'
CLOCK = common.BIN.parent / 'tests/reid_test_clock.so'
TRAIN = ['SOLVER.MAX_EPOCH', '100000', 'TEST.EVAL_PERIOD', '0']


@contextlib.contextmanager
def environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class Faults(common.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        done = subprocess.run([common.BIN / 'reidctl', 'submit', '--dry-run', common.CONFIG], check=True, capture_output=True, text=True)
        cls.config = cls.folder / 'config.yml'
        cls.config.write_text(done.stdout)

    def state(self):
        return self.folder / self.id().rsplit('.', 1)[1][5:29]

    def daemon(self, *options, fake=True):
        daemon = common.Daemon(self.state(), *options, *(('--trainer', str(FAKE)) if fake else ()))
        self.addCleanup(self.end, daemon)
        return daemon

    def end(self, daemon):
        if daemon.process.poll() is None:
            for job in json.loads(daemon.ctl('ps', '-o', 'json').stdout or '[]'):
                daemon.ctl('cancel', '--grace', '1', job['id'])
                daemon.wait_state(job['id'], ('CANCELLED', 'FAILED', 'SUCCEEDED'), 30)
        daemon.stop()

    def script(self, daemon, name, text, *options):
        out = self.folder / 'out' / self.state().name / name
        out.mkdir(parents=True)
        (out / 'script').write_text(text)
        done = daemon.ctl('submit', '--name', name, *options, self.config, 'OUTPUT_DIR', out)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def mount(self, size):
        """A disk of its own under the state folder; skips where that is not allowed."""
        folder = self.state()
        folder.mkdir()
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'reid-test', folder], capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f'no tmpfs may be mounted here: {done.stderr.strip()}')
        self.addCleanup(subprocess.run, ['umount', '-l', folder], check=False)
        return folder

    def trained(self, daemon, job, more=0):
        """Iterations done, when there are more of them."""
        return common.wait_for(lambda: (lambda n: n if n > more else 0)(int(daemon.job(job).get('progress', {}).get('iteration', 0))), 60,
                               f'more than {more} iterations')

    # ---- disks ----

    def fill(self, folder):
        with open(folder / 'filler', 'wb', buffering=0) as filler:
            for size in (65536, 512, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError:
                    pass

    def test_full_disk(self):
        """Jobs go on, submissions are refused, and with room again everything that was said meanwhile is stored."""
        folder = self.mount('6m')
        daemon = self.daemon('--slots', '1', fake=False)
        done = daemon.ctl('submit', '--name', 'goes-on', common.CONFIG, *self.overrides('full', *TRAIN))
        self.assertEqual(done.returncode, 0, done.stderr)
        before = self.trained(daemon, 'goes-on', 3)
        self.fill(folder)
        done = daemon.ctl('submit', '--name', 'refused', common.CONFIG, *self.overrides('refused', *TRAIN))
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r'full|No space left')
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        after = self.trained(daemon, 'goes-on', before + 10)
        (folder / 'filler').unlink()
        self.trained(daemon, 'goes-on', after + 3)
        self.assertEqual(daemon.ctl('cancel', 'goes-on').returncode, 0)
        end = daemon.wait_state('goes-on', ('CANCELLED',), 60)
        rows = daemon.rows('goes-on')
        self.assertEqual([r['seq'] for r in rows], list(range(1, len(rows) + 1)))
        self.assertEqual([r['iteration'] for r in rows if 'total_loss' in r['metrics']], list(range(end['progress']['iteration'])))
        self.assertEqual(daemon.ctl('describe', 'refused').returncode, 4)

    def test_full_disk_of_checkpoints(self):
        """The training ends with the cause; the checkpoints that were there stay, and are gone on from."""
        disk = self.mount('50m')  # one checkpoint and a half
        out = disk / 'out'
        daemon = common.Daemon(self.folder / 'ckpt', '--slots', '1')
        self.addCleanup(self.end, daemon)
        done = daemon.ctl('submit', '--name', 'big', common.CONFIG, *self.overrides('x', 'OUTPUT_DIR', out, *TRAIN, 'SOLVER.CHECKPOINT_PERIOD', '1'))
        self.assertEqual(done.returncode, 0, done.stderr)
        end = daemon.wait_state('big', ('FAILED',), 120)
        self.assertRegex(end['failure']['sentence'], r'No space left|disk of .* is full')
        self.assertEqual([p.name for p in out.glob('.tmp-*')], [])
        self.assertEqual((out / 'last_checkpoint').read_text().strip(), 'model_0000')
        self.assertEqual(common.manifest(out / 'model_0000')['iteration'], 6)

    def disk(self, name):
        """An ext4 of its own; skips where that is not allowed."""
        image, folder = self.folder / f'{name}.img', self.folder / name
        folder.mkdir()
        with open(image, 'wb') as file:
            file.truncate(16 << 20)
        for words in (['mkfs.ext4', '-q', image], ['mount', '-o', 'loop', image, folder]):
            if not shutil.which(words[0]) or (done := subprocess.run(words, capture_output=True, text=True)).returncode != 0:
                self.skipTest(f'no disk can be made here: {words[0]}')
        self.addCleanup(subprocess.run, ['umount', '-l', folder], check=False)
        return folder

    def test_output_that_cannot_be_written(self):
        daemon = self.daemon(fake=False)
        disk = self.disk('fixed')
        subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
        places = {'/proc': 'No such file or directory', '/sys/kernel': 'Operation not permitted|Permission denied', disk: 'Read-only file system'}
        for place, why in places.items():
            done = daemon.ctl('submit', common.CONFIG, *self.overrides('x', 'OUTPUT_DIR', f'{place}/a/b'))
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, f"OUTPUT_DIR '{place}/a/b': cannot make a folder in '{place}': ({why})\n")
        self.assertEqual(json.loads(daemon.ctl('ps', '-a', '-o', 'json').stdout or '[]'), [])

    def test_output_on_a_disk_that_does_not_answer(self):
        """As on a dead file server, the check waits where no kill reaches it: others do not wait for it, nor does the daemon's end."""
        daemon = self.daemon('--check-timeout', '3', fake=False)
        disk = self.disk('frozen')
        subprocess.run(['fsfreeze', '--freeze', disk], check=True)
        thaw = [['fsfreeze', '--unfreeze', disk]]
        self.addCleanup(lambda: [subprocess.run(words, check=False) for words in thaw])
        done = daemon.ctl('submit', common.CONFIG, *self.overrides('x', 'OUTPUT_DIR', disk / 'a'), timeout=20)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('the check of the job did not end within 3 s, and cannot be killed', done.stderr)
        done = daemon.ctl('submit', common.CONFIG, *self.overrides('good', 'SOLVER.MAX_EPOCH', '1', 'TEST.EVAL_PERIOD', '0'))
        self.assertEqual(done.returncode, 0, done.stderr)
        daemon.wait_state(done.stdout.strip(), ('SUCCEEDED',), 120)
        daemon.process.terminate()
        daemon.process.wait(20 * common.PATIENCE)

    def test_read_only_store(self):
        folder = self.mount('4m')
        daemon = self.daemon('--slots', '1')
        daemon.stop()
        subprocess.run(['mount', '-o', 'remount,ro', folder], check=True)
        done = subprocess.run([str(common.BIN / 'reidd'), '--state-dir', str(folder), '--socket', f'unix:{self.folder}/ro.sock'],
                              capture_output=True, text=True, timeout=60)
        subprocess.run(['mount', '-o', 'remount,rw', folder], check=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.splitlines()[-1], r"^reidd: cannot open '.*reidd.lock': Read-only file system$")
        daemon.start()

    # ---- the store ----

    def care(self, *options):
        return subprocess.run([str(common.BIN / 'reidd'), '--state-dir', str(self.state()), *map(str, options)], capture_output=True, text=True,
                              timeout=60 * common.PATIENCE)

    def test_corrupt_store(self):
        """Told in one sentence, at the start and when asked; a backup of a running reidd brings everything back."""
        daemon = self.daemon('--slots', '1')
        self.script(daemon, 'early', 'link\nrows 20\nlast-row\n')
        daemon.wait_state('early', ('SUCCEEDED',), 30)
        backup = self.folder / 'backup.db'
        self.assertEqual(self.care('--backup-store', backup).returncode, 0)
        self.assertEqual(backup.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.care('--backup-store', backup).returncode, 1, 'nothing is written over')
        sound = self.care('--check-store')
        self.assertRegex(sound.stdout, r'is sound: 1 jobs, 1 attempts, \d+ events, 20 rows of metrics')
        daemon.stop()
        path = daemon.state / 'reidd.db'
        bytes_ = bytearray(path.read_bytes())
        for page in range(4096, len(bytes_), 4096):
            bytes_[page:page + 100] = os.urandom(100)
        path.write_bytes(bytes_)
        for done in (self.care('--check-store'), self.care('--socket', f'unix:{self.folder}/no.sock')):
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertRegex(done.stderr.splitlines()[-1], r"^reidd: .*reidd.db'.*put a backup in its place")
        path.write_bytes(backup.read_bytes())
        daemon.start()
        self.assertEqual(daemon.job('early')['state'], 'SUCCEEDED')
        self.assertEqual(len(daemon.rows('early')), 20)

    def test_backup_while_rows_are_written(self):
        daemon = self.daemon('--slots', '1')
        out = self.script(daemon, 'writes', 'link\nphase 2\ntrain 100000 1 1000\n')
        common.wait_for(lambda: len(daemon.rows('writes')) > 50, 30, 'rows')
        backup = self.folder / 'live.db'
        done = self.care('--backup-store', backup, '--check-store')
        self.assertEqual(done.returncode, 0, done.stderr)
        with contextlib.closing(sqlite3.connect(backup)) as copy:
            self.assertEqual(copy.execute('PRAGMA integrity_check').fetchone(), ('ok',))
            seqs = [s for s, in copy.execute('SELECT seq FROM metrics ORDER BY seq')]
        self.assertGreater(len(seqs), 50)
        self.assertEqual(seqs, list(range(1, len(seqs) + 1)))
        self.assertFalse((out / 'violation').exists())

    # ---- checkpoints ----

    def test_corrupt_checkpoint(self):
        """A restart takes the newest one that is whole, and names the one that is not."""
        daemon = self.daemon('--slots', '1', fake=False)
        out = self.folder / 'broken'
        done = daemon.ctl('submit', '--name', 'breaks', '--max-restarts', '3', '--restart-backoff', '0.1', common.CONFIG,
                          *self.overrides('broken', 'SOLVER.MAX_EPOCH', '20', 'TEST.EVAL_PERIOD', '0', 'SOLVER.CHECKPOINT_PERIOD', '1'))
        self.assertEqual(done.returncode, 0, done.stderr)
        common.wait_for(lambda: (out / 'model_0002').exists(), 90, 'checkpoints')
        pid = self.rank(daemon, 'breaks')
        os.kill(pid, signal.SIGSTOP)
        newest = out / (out / 'last_checkpoint').read_text().strip()
        with open(newest / 'model.safetensors', 'r+b') as file:
            file.seek(5000)
            file.write(os.urandom(64))
        os.kill(pid, signal.SIGKILL)
        end = daemon.wait_state('breaks', ('SUCCEEDED', 'FAILED'), 120)
        self.assertEqual((end['state'], end['restarts']), ('SUCCEEDED', 1), end)
        log = (out / 'log.txt').read_text() + daemon.ctl('logs', 'breaks').stdout
        self.assertRegex(log, re.escape(f'{newest.name}') + r'.*model.safetensors')
        iterations = {r['iteration'] for r in daemon.rows('breaks')}
        self.assertEqual(iterations, set(range(120)))

    def rank(self, daemon, name):
        return common.wait_for(lambda: daemon.rank_pids(daemon.job(name)['id']), 30, 'a rank')[0]

    # ---- clocks ----

    @unittest.skipIf(common.SANITIZED or not CLOCK.exists(), 'a sanitizer has its own way of starting')
    def test_clock_that_jumps(self):
        """A day ahead and three days back: nobody is late, no checkpoint is forgotten, ids rise."""
        offset = self.folder / 'offset'
        offset.write_text('0')
        with environment(LD_PRELOAD=str(CLOCK), REID_TEST_CLOCK=str(offset)):
            daemon = self.daemon('--slots', '1', '--step-timeout', '30', '--stall-notice', '10')

        def jump(days):
            (self.folder / 'new').write_text(str(days * 86400))
            os.rename(self.folder / 'new', offset)

        out = self.script(daemon, 'long', 'link\nphase 2\ntrain 100000 10 1\n', '--max-restarts', '9', '--restart-backoff', '0.1')
        first = self.trained(daemon, 'long', 5)
        jump(1)
        second = self.trained(daemon, 'long', first + 20)
        self.assertNotIn('stalled', daemon.job('long')['detail'])
        jump(3)
        os.kill(self.pid(daemon, 'long'), signal.SIGKILL)  # its checkpoints look older than its start to a clock that has jumped
        common.wait_for(lambda: daemon.job('long')['attempt'] == 2, 30, 'a restart')
        third = self.trained(daemon, 'long', second)
        jump(-3)
        os.kill(self.pid(daemon, 'long'), signal.SIGKILL)
        common.wait_for(lambda: daemon.job('long')['attempt'] == 3, 30, 'a restart after the clock was set back')
        self.trained(daemon, 'long', third)
        self.assertFalse((out / 'violation').exists(), 'an attempt began anew')
        self.script(daemon, 'queued', 'link\n')
        self.assertEqual(daemon.ctl('cancel', '--grace', '1', 'long').returncode, 0)
        daemon.wait_state('queued', ('SUCCEEDED',), 30)
        self.assertGreater(daemon.job('queued')['id'], daemon.job('long')['id'])

    def pid(self, daemon, name):
        mark = f'REIDD_JOB={daemon.job(name)["id"]}'
        return common.wait_for(lambda: [p for p in common.processes_with(mark) if common.exe_name(p) == FAKE.name], 30, 'its rank')[0]

    # ---- memory ----

    def test_memory_runs_out(self):
        """The kernel's kill is named as such."""
        group = next((g for g, _ in self.groups() if self.make_group(g)), None)
        if not group:
            self.skipTest('no control group with a memory limit can be made here')
        daemon = self.daemon('--slots', '1')
        out = self.script(daemon, 'hungry', 'mark up\nwait go\nhog 256\n')
        common.wait_for(lambda: (out / 'up').exists(), 30, 'the rank')
        (group / 'cgroup.procs').write_text((out / 'up').read_text())
        (out / 'go').touch()
        end = daemon.wait_state('hungry', ('FAILED', 'SUCCEEDED'), 60)
        if end['state'] == 'SUCCEEDED':
            self.skipTest('the limit is not enforced here')
        self.assertEqual((end['failure']['rank'], end['failure']['signal']), (0, 9))
        self.assertRegex(end['failure']['sentence'], r'rank 0 was killed by (the kernel, because memory ran out|signal 9 .*memory has run out)')

    def groups(self):
        for kind, limit in (('/sys/fs/cgroup/memory', 'memory.limit_in_bytes'), ('/sys/fs/cgroup', 'memory.max')):
            yield pathlib.Path(kind) / f'reid-test-{os.getpid()}', limit

    def make_group(self, group):
        limit = dict(self.groups())[group]
        try:
            if not group.parent.joinpath('cgroup.procs').exists():
                return False
            group.mkdir()
            self.addCleanup(group.rmdir)
            (group / limit).write_text(str(32 << 20))
            swap = group / ('memory.swap.max' if limit == 'memory.max' else 'memory.memsw.limit_in_bytes')
            if swap.exists():
                swap.write_text('0' if limit == 'memory.max' else str(32 << 20))
            return True
        except OSError:
            return False

    # ---- ranks ----

    @common.needs_mpi
    def test_top_shows_the_ranks(self):
        daemon = self.daemon('--slots', '2', fake=False)
        done = daemon.ctl('submit', '--name', 'two', '-n', '2', common.CONFIG, *self.overrides('two', *TRAIN))
        self.assertEqual(done.returncode, 0, done.stderr)

        def look():
            ranks = json.loads(daemon.ctl('top', '-o', 'json', 'two').stdout)['ranks']
            return ranks if len(ranks) == 2 and all(r['step_seconds'] for r in ranks) else None

        ranks = common.wait_for(look, 90, 'the times of both ranks')
        pids = sorted(daemon.rank_pids(daemon.job('two')['id']))
        self.assertEqual([r['rank'] for r in ranks], [0, 1])
        self.assertEqual(sorted(r['pid'] for r in ranks), pids)
        for r in ranks:
            self.assertAlmostEqual(r['data_seconds'] + r['compute_seconds'] + r['wait_seconds'], r['step_seconds'], places=6)
            self.assertGreater(r['compute_seconds'], 0)
            self.assertGreater(r['wait_seconds'], 0)
        table = daemon.ctl('top', 'two').stdout.splitlines()
        self.assertRegex(table[0], r'^two \(\w+\): RUNNING, (training|saving); iteration \d+ of 600000')
        self.assertEqual(next(line for line in table if line.startswith('RANK')).split(),
                         'RANK NODE PID ITERATION STEP DATA COMPUTE WAIT HEARD NOTE'.split())
        os.kill(pids[0], signal.SIGSTOP)
        try:
            common.wait_for(lambda: 'is stopped' in daemon.ctl('top', 'two').stdout, 30, 'the stopped rank is named')
        finally:
            os.kill(pids[0], signal.SIGCONT)


if __name__ == '__main__':
    common.main()
