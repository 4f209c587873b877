#!/usr/bin/python3
"""reid-train --plan-only: what it says against figures from elsewhere."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from common import BIN, ROOT

CONFIG = ROOT / 'deploy/configs/Market1501/bagtricks_R50.yml'
SIMULATE = ROOT / 'tests/bench/simulate'
# Nothing of the data is there: a plan needs no more than the number of identities.
BASE = ['MODEL.HEADS.NUM_CLASSES', '751', 'MODEL.BACKBONE.PRETRAIN', 'False', 'DATASETS.ROOT', '/nowhere',
        'MODEL.RECOMPUTE', 'none']
MIB = 1 << 20


def run(*words, device='cpu', base=BASE, config=CONFIG):
    return subprocess.run([BIN / 'reid-train', '--plan-only', device, '--config-file', config, *words, *base],
                          capture_output=True, text=True, timeout=120)


def plan(*words, **kwargs):
    done = run('--json', *words, **kwargs)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class PlanOnly(unittest.TestCase):
    def test_figures_of_resnet50(self):
        """Parameters as torchvision counts them: 23,508,032 of the backbone without its classifier, plus the neck's
        4,096 and the classifier's 751 x 2048. Multiply-adds: 4.09 G an image at 224x224 for the forward pass of the
        backbone, whose last stride is 2; He et al. 2016 and torchvision's documentation."""
        figures = plan(base=[*BASE, 'INPUT.SIZE_TRAIN', '[224, 224]', 'MODEL.BACKBONE.LAST_STRIDE', '2',
                             'SOLVER.IMS_PER_BATCH', '32'])
        memory = figures['memory_bytes']
        count = 23508032 + 4096 + 751 * 2048
        self.assertAlmostEqual(memory['parameters'] / 4 / count, 1, delta=0.002)  # padding to 16 floats, to blocks
        self.assertEqual(memory['gradients'], memory['parameters'])
        self.assertEqual(memory['optimizer'], 2 * memory['parameters'])
        forward = sum(layer['flops'] for layer in figures['layers'] if layer['operation'] == 'conv2d')
        # forward, gradient of weights, gradient of inputs; the first convolution has none of the latter
        first = next(layer for layer in figures['layers'] if layer['name'] == 'backbone.conv1')
        forward = (forward - first['flops']) / 3 + first['flops'] / 2
        self.assertAlmostEqual(forward / 2 / 32 / 4.087e9, 1, delta=0.005)
        self.assertEqual(memory['total'], sum(memory[k] for k in ('parameters', 'gradients', 'optimizer', 'statistics',
                                                                  'step', 'evaluation')))
        fullest = memory['step_at_its_fullest']
        parts = sum(fullest[k] for k in ('inputs', 'activations', 'gradients', 'workspace', 'scratch'))
        self.assertLessEqual(parts, memory['step'])
        self.assertGreater(parts, memory['step'] * 0.9)

    def test_it_is_what_a_training_takes(self):
        """The plan that bench_operations makes with memory has the same calls."""
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / 'operations.json'
            subprocess.run([BIN.parent / 'tests/bench_operations', '--out', out, '--identities', '751'], check=True,
                           timeout=120)
            operations = json.loads(out.read_text())
            figures = plan('--gpu', 'h100-sxm', '--world', '8', base=[*BASE, 'SOLVER.IMS_PER_BATCH', '512'])
            self.assertEqual(figures['batch'], operations['batch'])
            for direction in ('forward', 'backward'):
                flops = sum(p['flops'] for c in operations[direction] for p in c['parts'])
                self.assertAlmostEqual(figures['step'][direction + '_flops'] / flops, 1, delta=1e-6)
            self.assertEqual([layer['engines'] for layer in figures['layers']],
                             [call['kernels'] for call in operations['forward']])
            self.check_times(out, figures)

    def check_times(self, operations, figures):
        """tests/bench/simulate has the same model, written apart: the times agree."""
        for world, nodes, gbit in ((8, 1, 400), (32, 4, 400), (16, 16, 100)):
            with self.subTest(world=world, nodes=nodes, gbit=gbit):
                simulated = json.loads(subprocess.run(
                    [sys.executable, SIMULATE / 'simulate.py', operations, '--device',
                     SIMULATE / 'devices/h100-sxm.json', '--nodes', str(nodes), '--ranks-per-node', str(world // nodes),
                     '--link-gbit', str(gbit), '--json'], check=True, capture_output=True, text=True).stdout)
                figures = plan('--gpu', 'h100-sxm', '--world', str(world), '--nodes', str(nodes), '--link-gbit',
                               str(gbit), base=[*BASE, 'SOLVER.IMS_PER_BATCH', str(64 * world)])
                for ours, theirs in (('step_s', 'step_s'), ('alone_s', 'alone_s'), ('exposed_s', 'exposed_s'),
                                     ('allreduce_s', 'communication_s')):
                    self.assertAlmostEqual(figures['expected'][ours] / simulated[theirs], 1, delta=1e-3, msg=ours)
                self.assertLess(figures['bound']['step_s'], figures['expected']['step_s'])

    def test_the_largest_batch_fits_and_the_next_does_not(self):
        figures = plan('--memory', '8GiB')
        fit = figures['fit']
        self.assertEqual(fit['batch'] % 4, 0)  # whole identities of four images
        self.assertEqual(fit['next_batch'], fit['batch'] + 4)
        self.assertLessEqual(fit['bytes'], 8 << 30)
        self.assertGreater(fit['next_bytes'], 8 << 30)
        for batch, size in ((fit['batch'], fit['bytes']), (fit['next_batch'], fit['next_bytes'])):
            again = plan(base=[*BASE, 'SOLVER.IMS_PER_BATCH', str(batch)])
            self.assertEqual(again['memory_bytes']['total'], size)
        small = plan('--memory', '600MiB')['fit']
        self.assertEqual(small['batch'], 0)
        self.assertGreater(small['next_bytes'], 600 * MIB)

    def test_text_for_people(self):
        done = run('--gpu', 'h100-sxm', '--memory', '80GiB', '--world', '4')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for words in ('nothing was run', 'nothing was measured', 'images a rank', 'backbone.layer4.2.conv3',
                      'optimizer state (Adam)', 'the largest batch that fits is', 'not below', 'to be expected',
                      'efficiency', '16 images of 256x128 a rank'):
            self.assertIn(words, done.stdout)
        done = run()
        self.assertIn('no data sheet of this device is known', done.stdout)

    def test_refusals_are_sentences(self):
        for words, kwargs, sentence in (
                (['--gpu', 'voodoo2'], {}, "--gpu knows a100-sxm-80gb, "),
                ([], {'device': 'tpu'}, "--plan-only takes sm_80, sm_90, sm_100, sm_120, cuda, cpu or ref, not 'tpu'"),
                (['--world', '3'], {}, 'SOLVER.IMS_PER_BATCH'),
                ([], {'base': ['DATASETS.ROOT', '/nowhere']}, 'give MODEL.HEADS.NUM_CLASSES N, or the data'),
                ([], {'config': '/nowhere.yml'}, 'No such file'),
                (['--memory', '80'], {}, 'with its unit')):
            done = run(*words, **kwargs)
            self.assertIn(sentence, done.stderr)
            self.assertTrue(done.stderr.startswith('reid-train: '))
            self.assertEqual(done.stderr.count('\n'), 1)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, '')


HAVE_CUDA = os.environ.get('REID_HAVE_CUDA') == '1'


class PlanForGpus(unittest.TestCase):
    """The real cuDNN plans for GPUs that are not there."""

    @unittest.skipUnless(HAVE_CUDA, 'a build without CUDA')
    def test_resnet50_on_every_compute_capability(self):
        host = plan()
        for sm in (80, 90, 100, 120):
            for amp in ('False', 'True'):
                with self.subTest(sm=sm, amp=amp):
                    figures = plan(device=f'sm_{sm}', base=[*BASE, 'SOLVER.AMP.ENABLED', amp])
                    self.check(figures, host, bf16=amp == 'True')

    def check(self, figures, host, bf16):
        self.assertEqual((figures['backend'], figures['compute']), ('cuda', 'bf16' if bf16 else 'f32'))
        self.assertIn('cuDNN', figures['version'])
        convolutions = [layer for layer in figures['layers'] if layer['operation'] == 'conv2d']
        self.assertEqual(len(convolutions), 53)
        for layer in convolutions:
            self.assertRegex(layer['engines'], r'eng\d+', layer['name'])
        # the same arithmetic as on any device, and about the same memory, or half of it
        self.assertEqual([layer['flops'] for layer in figures['layers']], [layer['flops'] for layer in host['layers']])
        self.assertAlmostEqual(figures['memory_bytes']['parameters'] / host['memory_bytes']['parameters'], 1, delta=0.01)
        ratio = figures['memory_bytes']['step'] / host['memory_bytes']['step']
        self.assertTrue(0.45 < ratio < 0.75 if bf16 else 0.9 < ratio < 1.25, ratio)
        self.assertLess(figures['bound']['step_s'], figures['expected']['step_s'])

    @unittest.skipUnless(HAVE_CUDA, 'a build without CUDA')
    def test_a_batch_for_a_given_memory(self):
        fit = plan('--memory', '40GiB', device='sm_80', base=[*BASE, 'SOLVER.AMP.ENABLED', 'True'])['fit']
        self.assertEqual(fit['reserved_bytes'], 1 << 30)
        self.assertLessEqual(fit['bytes'] + fit['reserved_bytes'], 40 << 30)
        self.assertGreater(fit['next_bytes'] + fit['reserved_bytes'], 40 << 30)
        self.assertGreater(fit['batch'], 500)

    @unittest.skipUnless(HAVE_CUDA, 'a build without CUDA')
    def test_a_gpu_that_nobody_has_is_a_sentence(self):
        done = run(device='sm_35')
        self.assertEqual((done.stdout, done.stderr.count('\n')), ('', 1))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('sm_35', done.stderr)

    @unittest.skipIf(HAVE_CUDA, 'a build with CUDA')
    def test_a_build_without_cuda_says_so(self):
        done = run(device='sm_90')
        self.assertEqual((done.returncode, done.stdout, done.stderr.count('\n')), (2, '', 1))


if __name__ == '__main__':
    unittest.main(verbosity=2)
