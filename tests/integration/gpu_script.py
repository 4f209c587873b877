#!/usr/bin/python3
"""tests/gpu.sh where there is no GPU: it says so and does not pass. (With --emulated it runs everything but timing; that is
what integration.cuda does, too.)"""
import os
import pathlib
import subprocess
import tempfile
import unittest

from common import BIN, ROOT


class Script(unittest.TestCase):
    def run_script(self, *words):
        """With an nvidia-smi that fails, as on a machine without a driver."""
        with tempfile.TemporaryDirectory() as folder:
            smi = pathlib.Path(folder) / 'nvidia-smi'
            smi.write_text('#!/bin/sh\necho "NVIDIA-SMI has failed"\nexit 9\n')
            smi.chmod(0o755)
            report = pathlib.Path(folder) / 'report.txt'
            done = subprocess.run([ROOT / 'tests/gpu.sh', '--out', report, *words], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, 'PATH': f"{folder}:{os.environ['PATH']}"})
            return done, report.read_text() if report.exists() else ''

    def test_no_gpu_is_not_a_pass(self):
        done, report = self.run_script('--build-dir', str(BIN.parent))
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertEqual(done.stdout, report)
        self.assertIn('no GPU: nvidia-smi is not there, or does not list any', report)
        self.assertRegex(report, r'NOT RUN  everything else: (there is no GPU|.* was built without CUDA)')
        self.assertIn('0 passed, 0 failed, 1 not run', report)

    def test_wrong_use(self):
        for words in (['--fast'], ['--out']):
            done = subprocess.run([ROOT / 'tests/gpu.sh', *words], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 2)
            self.assertTrue(done.stderr.startswith('gpu.sh: '))


if __name__ == '__main__':
    unittest.main(verbosity=2)
