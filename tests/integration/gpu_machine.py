#!/usr/bin/python3
"""The trainings of tests/gpu.sh on real GPUs: gpu_machine.py [--emulated] TEST …, or --time f32|tf32|bf16 --gpus N. The tests are those
of cuda.py (agreement), without the emulator and at the demo network's own width."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import unittest

import common
import cuda

STEPS = 60  # about; the first are not counted


def on_hardware():
    """cuda.py's tests with a wrapper that does nothing, and a network as wide as the demo's."""
    cuda.RUN = pathlib.Path('/usr/bin/env')
    cuda.THIN = ['INPUT.SIZE_TRAIN', '[128, 64]', 'INPUT.SIZE_TEST', '[128, 64]', 'SOLVER.IMS_PER_BATCH', '32',
                 'TEST.IMS_PER_BATCH', '32']


class Machine(cuda.Agreement):
    def test_slots(self):
        listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, check=True).stdout
        daemon = common.Daemon(self.folder / 'slots')
        try:
            node, = json.loads(daemon.ctl('nodes', '-o', 'json').stdout)
            self.assertEqual(node['slots'], len(listed.splitlines()))
            for gpu, line in zip(node['gpus'], listed.splitlines()):
                self.assertIn(gpu['uuid'], line)
                self.assertIn(gpu['name'], line)
                self.assertGreater(gpu['memory_total_bytes'], gpu['memory_used_bytes'])
                self.assertTrue(gpu['offered'])
            print(daemon.ctl('top').stdout)
        finally:
            daemon.stop()


class Timing(common.Case):
    """Steps of a whole training, with its loader, on generated images."""

    TYPES = {'f32': [], 'tf32': ['MODEL.CUDA.TF32', 'True'], 'bf16': ['SOLVER.AMP.ENABLED', 'True'],
             'fp16': ['SOLVER.AMP.ENABLED', 'True', 'SOLVER.AMP.DTYPE', 'fp16']}

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
        cls.data = cls.folder / 'data'
        common.make_market(cls.data, train_ids=64, images=8)

    def run_timed(self, kind, gpus):
        per_gpu = 64
        epochs = max(2, STEPS * per_gpu * gpus // (64 * 2 * 8))
        config = common.ROOT / 'deploy/configs/Market1501/bagtricks_R50.yml'
        words = ['--config-file', str(config), 'MODEL.BACKEND', 'cuda', 'DATASETS.ROOT', str(self.data), 'OUTPUT_DIR',
                 str(self.folder / 'out'), 'MODEL.BACKBONE.PRETRAIN', 'False', 'SOLVER.IMS_PER_BATCH', str(per_gpu * gpus),
                 'SOLVER.MAX_EPOCH', str(epochs), 'SOLVER.CHECKPOINT_PERIOD', '100000', 'TEST.EVAL_PERIOD', '0',
                 *self.TYPES[kind]]
        launcher = [] if gpus == 1 else ['mpirun', '--allow-run-as-root', '--bind-to', 'none', '-np', str(gpus)]
        subprocess.run([*launcher, str(common.BIN / 'reid-train'), *words], check=True, timeout=1800)
        rows = [json.loads(line) for line in (self.folder / 'out/metrics.json').read_text().splitlines()]
        timed = sorted((row['time'], row.get('data_time', 0)) for row in rows[len(rows) // 3:] if 'time' in row)
        step, waiting = timed[len(timed) // 2]
        print(f'TIME     ResNet-50 256x128, {per_gpu} images a GPU, {kind}, {gpus} GPU(s): {step * 1e3:.2f} ms a step, '
              f'{per_gpu * gpus / step:.0f} images/s, of it {waiting * 1e3:.2f} ms waiting for data')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('tests', nargs='*')
    parser.add_argument('--emulated', action='store_true')
    parser.add_argument('--time', choices=Timing.TYPES)
    parser.add_argument('--gpus', type=int, default=1)
    args = parser.parse_args()
    if args.time:
        Timing.setUpClass()
        try:
            Timing('run_timed').run_timed(args.time, args.gpus)
        finally:
            Timing.tearDownClass()
        return
    if not args.emulated:
        on_hardware()
    suite = unittest.TestSuite(Machine(name) for name in args.tests)
    sys.exit(0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1)


if __name__ == '__main__':
    main()
