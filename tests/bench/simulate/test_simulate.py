#!/usr/bin/env python3
"""simulate.py on the operations of a tiny network, written by the build's bench_operations: counts, closed forms,
properties."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import simulate

BUILD = pathlib.Path(os.environ['REID_BUILD_DIR'])
HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = BUILD / 'tests/bench_operations'
TINY = ['MODEL.BACKBONE.DEPTH', '18x', 'MODEL.BACKBONE.FEAT_DIM', '512', 'INPUT.SIZE_TRAIN', '[32, 32]',
        'SOLVER.IMS_PER_BATCH', '8', 'COMM.BUCKET_MB', '5']


def operations_of(*arguments):
    return json.loads(subprocess.run([str(PROGRAM), *arguments], check=True, capture_output=True, text=True).stdout)


def flops(operations, kind):
    return sum(part['flops'] for name in ('forward', 'backward') for call in operations[name] for part in call['parts']
               if call['kind'] == kind)


def cluster(**changes):
    values = dict(nodes=4, ranks_per_node=8, link_bytes_per_s=100e9, node_bytes_per_s=10e9, link_latency_s=2e-6,
                  network_latency_s=10e-6, tree_link_latency_s=1e-6, tree_network_latency_s=10e-6, base_s=5e-6)
    return simulate.Cluster(**{**values, **changes})


class Operations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tiny = operations_of('--threads', '1', *TINY)
        cls.device = simulate.load(HERE / 'devices/h100-sxm.json')

    def test_resnet50_flops(self):
        """He et al. 2016, table 1: 3.8 GFLOP (multiply-adds) for ResNet-50 at 224x224, 0.2 more for stride 2 in the 3x3
        convolution (v1.5: 4.09). Backward is twice the forward, without the stem's gradient of the images."""
        big = operations_of('--threads', '1', '--identities', '1000', 'INPUT.SIZE_TRAIN', '[224, 224]',
                            'MODEL.BACKBONE.LAST_STRIDE', '2', 'SOLVER.IMS_PER_BATCH', '4')
        forward = sum(part['flops'] for call in big['forward'] for part in call['parts']
                      if call['kind'] in ('conv2d', 'linear')) / 4
        self.assertAlmostEqual(forward / 2 / 1e9, 4.09, delta=0.02)
        stem = 2 * 112 * 112 * 64 * 3 * 49
        self.assertEqual(flops(big, 'conv2d') + flops(big, 'linear'), int(4 * (3 * forward - stem)))

    def test_gradients_become_ready_in_order(self):
        ends = [call['ready_end'] for call in self.tiny['backward']]
        self.assertEqual(ends, sorted(ends))
        self.assertEqual(ends[-1], self.tiny['gradient_floats'])
        offset = 0
        for parameter in self.tiny['parameters']:
            self.assertEqual(parameter['offset'], offset)
            offset += parameter['size']
        self.assertEqual(offset, self.tiny['gradient_floats'])

    def test_buckets_as_the_reducer_cuts_them(self):
        for bucket_mb in (1, 5, 25, 1000):
            tiny = operations_of('--threads', '1', *TINY[:-1], str(bucket_mb))
            ends = simulate.cut_buckets(tiny, tiny['reducer']['first_bucket_bytes'], tiny['reducer']['bucket_bytes'])
            self.assertEqual(len(ends), tiny['reducer']['buckets'])
            self.assertEqual(ends[-1], tiny['gradient_floats'])

    def test_seconds_are_measured(self):
        tiny = operations_of('--threads', '1', '--steps', '2', *TINY)
        self.assertEqual(len(tiny['measured']['plain_s']), 2)
        compute = simulate.measured(tiny)
        self.assertAlmostEqual(compute.total(), sorted(tiny['measured']['plain_s'])[1])
        self.assertGreater(min(s for s, _ in compute.backward), 0)

    def test_bad_arguments(self):
        for arguments, word in ((['--steps', '-1'], '--steps'), (['--what', '1'], '--what'),
                                (['--identities'], '--identities'), (['NO.SUCH.KEY', '1'], 'NO.SUCH.KEY')):
            run = subprocess.run([str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 1)
            self.assertIn(word, run.stderr)

    # ---- roofline ----

    def test_roofline_limits(self):
        """With infinite memory speed the convolutions take FLOPs over peak; with infinite arithmetic, bytes over
        bandwidth."""
        device = {**self.device, 'call_overhead_s': 0, 'vector_flops': math.inf}
        fast = {**device, 'memory_bytes_per_s': math.inf, 'peak_flops': {'f32': 1e12}}
        expected = (flops(self.tiny, 'conv2d') + flops(self.tiny, 'linear')) / 1e12 / device['efficiency']['matrix']
        self.assertAlmostEqual(simulate.roofline(self.tiny, fast).total() / expected, 1)
        wide = {**device, 'peak_flops': {'f32': math.inf, 'bf16': math.inf}}
        bytes_moved = sum(sum(part[key] for key in part if key.endswith(('_read', '_written')))
                          for name in ('forward', 'backward') for call in self.tiny[name] for part in call['parts'])
        bytes_moved += self.tiny['optimizer']['other_read'] + self.tiny['optimizer']['other_written']
        speed = device['memory_bytes_per_s'] * device['efficiency']['memory']
        self.assertAlmostEqual(simulate.roofline(self.tiny, wide).total() * speed / bytes_moved, 1)
        self.assertLess(simulate.roofline(self.tiny, wide, 'bf16').total(), simulate.roofline(self.tiny, wide).total())

    def test_bf16_counts_equal_scaled_f32(self):
        if subprocess.run([str(PROGRAM), '--threads', '1', *TINY, 'SOLVER.AMP.ENABLED', 'True'], capture_output=True,
                          check=False).returncode:
            self.skipTest('no bfloat16 on this machine')
        half = operations_of('--threads', '1', *TINY, 'SOLVER.AMP.ENABLED', 'True')
        self.assertEqual(half['compute'], 'bf16')
        derived = simulate.roofline(self.tiny, self.device, 'bf16').total()
        self.assertAlmostEqual(simulate.roofline(half, self.device).total() / derived, 1, delta=0.02)

    # ---- all-reduce ----

    def test_closed_forms(self):
        one = cluster(nodes=1, ranks_per_node=2, node_bytes_per_s=math.inf)
        self.assertAlmostEqual(simulate.ring(one, 100e6), 5e-6 + 2 * 2e-6 + 1e-3)
        self.assertAlmostEqual(simulate.direct(one, 100e6), 5e-6 + 2 * 2e-6 + 1e-3)
        four = cluster(ranks_per_node=1)
        self.assertAlmostEqual(simulate.ring(four, 100e6), 5e-6 + 6 * 10e-6 + 1.5 * 10e-3)
        self.assertAlmostEqual(simulate.two_level(four, 100e6), simulate.ring(four, 100e6))
        self.assertAlmostEqual(simulate.tree(four, 90e6), 5e-6 + 4 * 10e-6 + 2 * 10e-3)
        self.assertEqual(simulate.all_reduce_seconds(cluster(nodes=1, ranks_per_node=1), 1e9), 0)

    def test_a_tree_wins_where_latency_counts(self):
        many = cluster(nodes=512)
        self.assertLess(simulate.tree(many, 1e6), simulate.ring(many, 1e6))
        few = cluster(nodes=2)
        self.assertLess(simulate.ring(few, 1e9), simulate.tree(few, 1e9))
        for size in (1e3, 1e6, 1e9):
            self.assertEqual(simulate.all_reduce_seconds(many, size),
                             min(simulate.ring(many, size), simulate.tree(many, size)))

    # ---- overlap ----

    def test_overlap_by_hand(self):
        compute = simulate.Compute(0, [(1.0, 10), (1.0, 20), (1.0, 30)], 0)
        end, communication, times = simulate.overlap(compute, [(10, 40, 1.5), (20, 40, 1.5), (30, 40, 0.5)], 0)
        self.assertEqual((end, communication), (3.0, 4.5))
        self.assertEqual([t[2:] for t in times], [(1.0, 2.5), (2.5, 4.0), (4.0, 4.5)])
        # At half speed from 1 on: 0.75 done by 2.5, the rest by 2.75; then again half speed until 4.25.
        end, communication, times = simulate.overlap(compute, [(10, 40, 1.5), (20, 40, 1.5)], 0.5)
        self.assertEqual(times[1], (40, 2.75, 2.75, 4.25))
        self.assertAlmostEqual(end, 4.25 + (1 - 0.75))

    def simulated(self, c, **options):
        compute = simulate.roofline(self.tiny, self.device)
        return simulate.simulate(self.tiny, compute, c, bucket_mb=5, **options)

    def test_one_rank_and_an_infinite_link(self):
        self.assertEqual(self.simulated(cluster(nodes=1, ranks_per_node=1)).efficiency(), 1)
        free = cluster(link_bytes_per_s=math.inf, node_bytes_per_s=math.inf, link_latency_s=0, network_latency_s=0,
                       tree_link_latency_s=0, tree_network_latency_s=0, base_s=0)
        step = self.simulated(free)
        self.assertEqual((step.efficiency(), step.exposed), (1, 0))
        self.assertGreater(len(step.buckets), 2)

    def test_one_bucket_hides_nothing(self):
        c = cluster()
        compute = simulate.roofline(self.tiny, self.device)
        step = simulate.simulate(self.tiny, compute, c, first_mb=1e6, bucket_mb=1e6)
        whole = simulate.all_reduce_seconds(c, self.tiny['gradient_floats'] * 4)
        self.assertAlmostEqual(step.exposed, whole)
        self.assertAlmostEqual(step.seconds, compute.total() + whole)

    def test_a_slow_link_is_the_limit(self):
        """When nothing arrives in time, the step is its start to the first bucket plus all of the communication."""
        c = cluster(node_bytes_per_s=1e6)
        compute = simulate.roofline(self.tiny, self.device)
        step = self.simulated(c)
        start = compute.forward + step.buckets[0][1]
        self.assertAlmostEqual(step.seconds, start + step.communication + compute.update)

    def test_monotonic(self):
        def seconds(**changes):
            return self.simulated(cluster(**changes)).seconds
        for key, values in (('node_bytes_per_s', [10.0 ** e for e in range(6, 13)]),
                            ('link_bytes_per_s', [10.0 ** e for e in range(6, 13)]),
                            ('network_latency_s', [10.0 ** -e for e in range(1, 8)])):
            steps = [seconds(**{key: value}) for value in values]
            self.assertEqual(steps, sorted(steps, reverse=True), key)
            self.assertGreater(steps[0], steps[-1])
        slowed = [self.simulated(cluster(), slowdown=s).seconds for s in (0, 0.1, 0.3, 0.6)]
        self.assertEqual(slowed, sorted(slowed))

    def test_compression_sends_half(self):
        slow = cluster(node_bytes_per_s=1e6, base_s=0, link_latency_s=0, network_latency_s=0, tree_link_latency_s=0,
                       tree_network_latency_s=0)
        self.assertAlmostEqual(self.simulated(slow, compress=True).communication * 2,
                               self.simulated(slow).communication)
        wide = cluster(node_bytes_per_s=math.inf, link_bytes_per_s=math.inf)
        self.assertGreater(self.simulated(wide, compress=True, cast_bytes_per_s=1e9).communication,
                           self.simulated(wide).communication)

    def test_best_bucket(self):
        compute = simulate.roofline(self.tiny, self.device)

        def step(mb):
            return simulate.simulate(self.tiny, compute, cluster(), min(1, mb), mb)
        found, mb = simulate.best_bucket(step)
        self.assertEqual(found.seconds, min(step(size).seconds for size in simulate.SWEEP_MB))
        self.assertIn(mb, simulate.SWEEP_MB)

    def test_command_line(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'operations.json'
            path.write_text(json.dumps(self.tiny))
            command = [sys.executable, str(HERE / 'simulate.py'), str(path), '--device',
                       str(HERE / 'devices/h100-sxm.json'), '--dtype', 'bf16', '--nodes', '16']
            line = json.loads(subprocess.run([*command, '--json'], check=True, capture_output=True, text=True).stdout)
            self.assertAlmostEqual(line['efficiency'], line['alone_s'] / line['step_s'])
            table = subprocess.run([*command, '--sweep', '--calls'], check=True, capture_output=True, text=True).stdout
            self.assertIn('best: ', table)
            bad = subprocess.run([*command, '--link-gbit', '0'], capture_output=True, text=True, check=False)
            self.assertNotEqual(bad.returncode, 0)


if __name__ == '__main__':
    unittest.main()
