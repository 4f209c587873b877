"""cmake --install: what is there afterwards, and that it works where it was put, also after a move."""
import os
import subprocess
import unittest

import common


class Install(common.Case):
    def install(self, prefix, **environment):
        done = subprocess.run(['cmake', '--install', str(self.build), '--prefix', prefix], env={**os.environ, **environment},
                              capture_output=True, text=True, timeout=120 * common.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def setUp(self):
        self.build = common.BIN.parent
        self.addCleanup(setattr, common, 'BIN', common.BIN)

    def test_a_prefix_that_moves_trains(self):
        self.install(str(self.folder / 'one'))
        moved = (self.folder / 'one').rename(self.folder / 'two')
        common.BIN = moved / 'bin'
        daemon = common.Daemon(self.folder / 'state', '--slots', '2')
        self.addCleanup(daemon.stop)
        self.assertIn(f'trainer={moved}/bin/reid-train', (daemon.state / 'reidd.log').read_text())
        config = moved / 'share/reidd/deploy/configs/Demo/bagtricks_R18.yml'
        done = daemon.ctl('submit', '-n', common.RANKS, config,
                          *self.overrides('out', 'SOLVER.MAX_EPOCH', '1', 'TEST.EVAL_PERIOD', '0'))
        self.assertEqual(done.returncode, 0, done.stderr)
        job = daemon.wait_state(done.stdout.strip(), ('SUCCEEDED', 'FAILED'), 300)
        self.assertEqual(job['state'], 'SUCCEEDED', job)

    def test_the_unit_names_the_prefix_without_destdir(self):
        root = self.folder / 'image'
        self.install('/opt/reidd', DESTDIR=str(root))
        prefix = root / 'opt/reidd'
        unit = (prefix / 'lib/systemd/system/reidd.service').read_text()
        self.assertIn('\nExecStart=/opt/reidd/bin/reidd --state-dir /var/lib/reidd ', unit)
        documentation = unit.split('Documentation=file://')[1].split('\n')[0]
        for path in (documentation.lstrip('/'), 'opt/reidd/lib/sysusers.d/reidd.conf', 'opt/reidd/lib/tmpfiles.d/reidd.conf',
                     'opt/reidd/include/reid_hook_abi.h', 'opt/reidd/share/reidd/client/python/setup.py',
                     'opt/reidd/share/reidd/proto/reid/v1/job.proto'):
            self.assertTrue((root / path).is_file(), path)
        for script in ('cluster/certificates.sh', 'hooks/exec/print_time.sh'):
            self.assertTrue(os.access(prefix / 'share/reidd/deploy' / script, os.X_OK), script)


if __name__ == '__main__':
    unittest.main(verbosity=2)
