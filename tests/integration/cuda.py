#!/usr/bin/python3
"""reid-train on emulated GPUs: the unchanged program and module on a stand-in for CUDA, cuDNN and NCCL (tests/emulation), with its
checks of memory, initialisation, races and stream order on; any report of it fails a test."""
import json
import math
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

import common

RUN = common.ROOT / 'tests/emulation/run.sh'
LIBRARIES = common.BIN.parent / 'lib/emulation'
# A kernel's thread takes some 100 ns of the host's time: a thin network, few images.
THIN = ['MODEL.BACKBONE.WIDTH', '8', 'MODEL.BACKBONE.FEAT_DIM', '64', 'SOLVER.IMS_PER_BATCH', '16', 'TEST.IMS_PER_BATCH', '16']
SHORT = ['SOLVER.MAX_EPOCH', '1', 'TEST.EVAL_PERIOD', '1']
# Small steps: at larger ones the mining of triplets makes rounding errors grow within an epoch.
PLAIN_SGD = ['SOLVER.OPT', 'SGD', 'SOLVER.BASE_LR', '0.00002', 'SOLVER.WARMUP_ITERS', '0']
FP16 = ['SOLVER.AMP.ENABLED', 'True', 'SOLVER.AMP.DTYPE', 'fp16']
NO_TEST = ['SOLVER.MAX_EPOCH', '2', 'TEST.EVAL_PERIOD', '0']
DEADLINE_S = 6


def tensors(file):
    """A safetensors file as {name: list of floats}; f32 only."""
    data = pathlib.Path(file).read_bytes()
    size, = struct.unpack_from('<Q', data)
    header = json.loads(data[8:8 + size])
    found = {}
    for name, about in header.items():
        if name != '__metadata__' and about['dtype'] == 'F32':
            begin, end = about['data_offsets']
            found[name] = struct.unpack_from(f'<{(end - begin) // 4}f', data, 8 + size + begin)
    return found


class Cuda(common.Case):
    images = 2

    def setUp(self):
        self.log = self.folder / f'{self.id()}.emulator'
        self.emulator = {'REID_BUILD_DIR': str(common.BIN.parent), 'REID_EMU_DEVICES': '4', 'REID_EMU_LOG': str(self.log)}
        self.wrapper = []

    def command(self, out, *more, ranks=1, flags=()):
        words = super().command(out, 'MODEL.BACKEND', 'cuda', *THIN, *more, ranks=ranks, flags=flags)
        at = words.index(str(common.BIN / 'reid-train'))
        return words[:at] + self.wrapper + [str(RUN)] + words[at:]

    def environment(self, ranks=1):
        return {**super().environment(ranks), **self.emulator}

    def clean(self, *args, **kwargs):
        """Trains well, and the emulator has nothing to say."""
        text = self.train(*args, **kwargs)
        self.assertFalse(self.log.exists() and self.log.read_text(), self.log.exists() and self.log.read_text()[:4000])
        return text

    def on_cpu(self, out, *more, ranks=1):
        words = common.Case.command(self, out, 'MODEL.BACKEND', 'cpu', *THIN, *more, ranks=ranks)
        done = subprocess.run(words, env=super().environment(ranks), capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def metrics(self, out):
        values = {}
        for line in (self.folder / out / 'metrics.json').read_text().splitlines():
            values.update(json.loads(line))
        return values

    def check_like_cpu(self, ranks, *options, tolerance=2e-4):
        """Losses and figures, then every parameter: gradients of all ranks count, each once."""
        gpu, cpu = f'gpu{ranks}', f'cpu{ranks}'
        self.clean(gpu, *SHORT, *PLAIN_SGD, *options, ranks=ranks)
        self.on_cpu(cpu, *SHORT, *PLAIN_SGD, *options, ranks=ranks)
        self.check_alike(gpu, cpu, tolerance)

    def check_alike(self, gpu, cpu, tolerance):
        a, b = self.metrics(gpu), self.metrics(cpu)
        for name in ('total_loss', 'loss_cls', 'loss_triplet'):
            self.assertAlmostEqual(a[name], b[name], delta=tolerance * abs(b[name]), msg=name)
        self.assertAlmostEqual(a['mAP'], b['mAP'], delta=3)
        a, b = (tensors(self.folder / out / 'model_final/model.safetensors') for out in (gpu, cpu))
        self.assertEqual(a.keys(), b.keys())
        for name, values in b.items():
            far = max(abs(x - y) for x, y in zip(a[name], values))
            self.assertLess(far, tolerance * max(1, max(map(abs, values))), name)

    def check_fault(self, out, sentence, *options, ranks=2, within=60, flags=()):
        """Ends with one cause, soon."""
        start = time.monotonic()
        run = self.start(out, *NO_TEST, 'COMM.TIMEOUT_S', str(DEADLINE_S), *options, ranks=ranks, flags=flags)
        text = run.communicate(timeout=300 * common.PATIENCE)[0]
        self.assertNotEqual(run.returncode, 0, text)
        self.assertLess(time.monotonic() - start, within * common.PATIENCE, text)
        self.assertRegex(text, sentence)
        self.assertFalse((self.folder / out / 'model_final').exists())
        return text


class Agreement(Cuda):
    def test_one_gpu_like_cpu(self):
        self.check_like_cpu(1)

    def test_two_gpus_like_cpu(self):
        """Wide enough for three buckets."""
        self.check_like_cpu(2, 'COMM.BUCKET_MB', '1', 'MODEL.BACKBONE.WIDTH', '16', 'MODEL.BACKBONE.FEAT_DIM', '128',
                            'SOLVER.IMS_PER_BATCH', '32')
        self.assertFalse((self.folder / 'gpu2/flight').exists())  # nothing to be read after a good end

    def test_four_gpus_like_cpu(self):
        self.check_like_cpu(4, 'SOLVER.IMS_PER_BATCH', '32')

    def test_same_bits_from_run_to_run_and_after_a_kill(self):
        options = [*NO_TEST, 'SOLVER.CHECKPOINT_PERIOD', '1']
        self.clean('whole', *options, ranks=2)
        self.clean('again', *options, ranks=2)
        run = self.start('parts', *options, ranks=2)
        common.wait_for(lambda: (self.folder / 'parts/last_checkpoint').exists() or run.poll() is not None, 60, 'a checkpoint')
        for pid in common.processes_with(str(self.folder / 'parts')):
            os.kill(pid, signal.SIGKILL)
        run.communicate(timeout=60 * common.PATIENCE)
        self.assertIn('resuming from', self.clean('parts', *options, ranks=2, flags=['--resume']))
        whole = common.bits(self.folder / 'whole/model_final')
        self.assertEqual(whole, common.bits(self.folder / 'again/model_final'))
        self.assertEqual(whole, common.bits(self.folder / 'parts/model_final'))

    def test_two_nodes_of_two(self):
        """Ranks 2 and 3 have another host's name, and local ranks from 0 again: GPUs 0 and 1 of each node."""
        node = 'export OMPI_COMM_WORLD_LOCAL_RANK=$((OMPI_COMM_WORLD_RANK % 2)) OMPI_COMM_WORLD_LOCAL_SIZE=2; ' \
               'export NODE=node$((OMPI_COMM_WORLD_RANK / 2)); exec unshare --uts sh -c \'hostname $NODE && exec "$@"\' sh "$@"'
        if subprocess.run(['unshare', '--uts', 'true'], capture_output=True).returncode != 0:
            self.skipTest('a host name of its own needs unshare --uts')
        self.wrapper = ['sh', '-c', node, 'sh']
        self.emulator['REID_EMU_DEVICES'] = '2'
        self.clean('nodes', *SHORT, 'SOLVER.IMS_PER_BATCH', '32', ranks=4)

    def test_graphs_give_the_same_bits_as_single_calls(self):
        """Recorded steps, single calls, and what is left when nothing can be recorded."""
        options = [*SHORT, 'MODEL.CONVOLUTION', 'rule']
        self.clean('graphs', *options, ranks=2)
        self.clean('calls', *options, 'MODEL.CUDA.GRAPHS', 'False', ranks=2)
        self.emulator['REID_EMU_FAULT'] = 'cudaGraphInstantiate:1:fail,cudaStreamEndCapture:3:fail'
        self.clean('refused', *options, ranks=2)
        graphs = common.bits(self.folder / 'graphs/model_final')
        self.assertEqual(graphs, common.bits(self.folder / 'calls/model_final'))
        self.assertEqual(graphs, common.bits(self.folder / 'refused/model_final'))

    def test_compressed_gradients(self):
        self.clean('exact', *SHORT, *PLAIN_SGD, ranks=2)
        exact = self.metrics('exact')['total_loss']
        for way in ('bf16', 'fp16'):
            text = self.clean(way, *SHORT, *PLAIN_SGD, 'COMM.COMPRESSION', way, ranks=2)
            self.assertRegex(text, f'gradients go over NCCL .* as {way}')
            self.assertAlmostEqual(self.metrics(way)['total_loss'], exact, delta=0.02 * exact)
            self.assertNotEqual(common.bits(self.folder / way / 'model_final'), common.bits(self.folder / 'exact/model_final'))

    def test_bfloat16(self):
        self.clean('amp', *SHORT, *PLAIN_SGD, 'SOLVER.AMP.ENABLED', 'True', ranks=2)
        self.clean('full', *SHORT, *PLAIN_SGD, ranks=2)
        full = self.metrics('full')['total_loss']
        self.assertAlmostEqual(self.metrics('amp')['total_loss'], full, delta=0.05 * full)

    def test_fp16_like_cpu(self):
        """Against float32; the first of the scales overflows nowhere."""
        for ranks in 1, 2:
            self.on_cpu(f'f32-{ranks}', *SHORT, *PLAIN_SGD, ranks=ranks)
            text = self.clean(f'fp16-{ranks}', *SHORT, *PLAIN_SGD, *FP16, 'SOLVER.AMP.LOSS_SCALE', '1024', ranks=ranks)
            self.assertNotIn('overflow', text)
            self.check_alike(f'fp16-{ranks}', f'f32-{ranks}', 5e-3)
            self.assertEqual(self.metrics(f'fp16-{ranks}')['loss_scale'], 1024)
            # The gradients' running sum. Rounding alone makes it differ by a quarter: other triplets, other ReLUs.
            a, b = (tensors(self.folder / f'{out}{ranks}/model_final/optimizer.safetensors') for out in ('fp16-', 'f32-'))
            far = math.fsum((x - y) ** 2 for name in b for x, y in zip(a[name], b[name]))
            self.assertLess(math.sqrt(far / math.fsum(y * y for values in b.values() for y in values)), 0.6)

    def test_fp16_overflow(self):
        """Steps that overflow are left out on all ranks (else their parameters differ in the end, which is an error), the scale is
        halved each time and doubled later, and a resumed run goes on with it."""
        options = [*FP16, 'SOLVER.MAX_EPOCH', '4', 'TEST.EVAL_PERIOD', '0', 'SOLVER.CHECKPOINT_PERIOD', '2', 'SOLVER.AMP.LOSS_SCALE', str(2 ** 22), 'SOLVER.AMP.GROWTH_INTERVAL', '4']
        text = self.clean('overflow', *options, ranks=2)
        left_out = [(int(a), int(b)) for a, b in re.findall(r'gradients overflow at loss scale (\d+): this step is left out, the scale is (\d+) now', text)]
        self.assertEqual(left_out[:4], [(2 ** k, 2 ** (k - 1)) for k in (22, 21, 20, 19)])
        self.assertTrue(all(a == 2 * b for a, b in left_out) and len(left_out) < 16, left_out)
        state = json.loads((self.folder / 'overflow/model_final/state.json').read_text())
        self.assertEqual(state['optimizer_steps'], 24 - len(left_out))
        shutil.copytree(self.folder / 'overflow', self.folder / 'overflow_parts')  # as if killed after the second epoch
        shutil.rmtree(self.folder / 'overflow_parts/model_final')
        (self.folder / 'overflow_parts/last_checkpoint').write_text('model_0001')
        self.assertIn('at iteration 12', self.clean('overflow_parts', *options, ranks=2, flags=['--resume']))
        self.assertEqual(common.bits(self.folder / 'overflow/model_final'), common.bits(self.folder / 'overflow_parts/model_final'))
        again = json.loads((self.folder / 'overflow_parts/model_final/state.json').read_text())
        self.assertEqual((again['loss_scale'], again['loss_scale_good_steps']), (state['loss_scale'], state['loss_scale_good_steps']))


class Faults(Cuda):
    def test_a_call_fails(self):
        for fault, sentence in [
                ('ncclGetUniqueId:1@0', r'NCCL failed in ncclGetUniqueId on rank 0: unhandled system error'),
                ('ncclCommInitRank:1@1', r'NCCL failed in ncclCommInitRankConfig on rank 1'),
                ('ncclAllReduce:7@1', r'NCCL failed in ncclAllReduce on rank 1: unhandled cuda error'),
                ('ncclBroadcast:1@0', r'NCCL failed in ncclBroadcast on rank 0'),
                ('cudaMemcpyAsync:40@0', r'rank=0: .*CUDA failed in copy (to|from) the GPU'),
                ('cudaStreamWaitEvent:9@1', r'rank=1: CUDA failed in (queuing|waiting for) a collective call'),
                ('cudnnBackendExecute:30@1', r"rank=1: .*cuDNN failed in")]:
            with self.subTest(fault):
                self.emulator['REID_EMU_FAULT'] = fault
                self.check_fault('fails', sentence, within=30)

    def test_a_copy_for_a_checkpoint_fails(self):
        self.emulator['REID_EMU_FAULT'] = 'cudaMemcpyAsync/out:7:fail'
        self.emulator['REID_EMU_FAULT_AFTER'] = str(self.folder / 'copies/.tmp-*')  # the checkpoint, while it is written
        text = self.check_fault('copies', r'CUDA failed in copy from the GPU', 'SOLVER.CHECKPOINT_PERIOD', '1', ranks=1)
        self.assertNotIn('saved checkpoint', text)
        self.assertFalse((self.folder / 'copies/last_checkpoint').exists())
        self.assertEqual([p.name for p in (self.folder / 'copies').iterdir() if p.name.startswith(('model_', '.tmp'))], [])

    def test_a_copy_of_features_fails(self):
        self.emulator['REID_EMU_FAULT'] = 'cudaMemcpyAsync/out:1:fail'  # nothing else comes from the GPU
        text = self.check_fault('features', r'CUDA failed in copy from the GPU', flags=['--eval-only'], ranks=1)
        self.assertNotIn('evaluation results', text)

    def test_device_out_of_memory(self):
        for fault in 'cudaMalloc:5@1', 'cudaMalloc:7@1':
            with self.subTest(fault):
                self.emulator['REID_EMU_FAULT'] = fault
                self.check_fault('memory', r'rank=1: .*(has no room|not enough memory|no memory) for')

    def test_the_batch_does_not_fit(self):
        """Sizes, the largest tensors, a batch that fits."""
        self.emulator['REID_EMU_MEM_MB'] = '12'
        text = self.check_fault('full', r'not enough memory for a step: the plan needs \d+ MiB; the largest: .*\([\d.]+ MiB\), .*; '
                                r'a batch of about \d+ instead of \d+ fits; GPU 0 .* has no room for \d+ MiB: \d+ of 12 MiB are free',
                                'SOLVER.IMS_PER_BATCH', '64', ranks=1)
        self.assertNotIn('EMU[', text)

    def test_a_collective_never_ends(self):
        self.emulator['REID_EMU_FAULT'] = 'ncclAllReduce:9:stall@1,ncclCommAbort:1:exit'  # it is revoked and destroyed
        text = self.check_fault('stall', r'all-reduce of bucket 0 \([\d.]+ MiB\) timed out after \d\S* s in phase training on rank \d')
        self.assertNotIn('saved checkpoint', text)

    def test_start_up_never_ends(self):
        self.emulator['REID_EMU_FAULT'] = 'ncclCommInitRank:1:stall@1'
        self.check_fault('init', r'the start-up of NCCL timed out after 6 s on rank \d')

    def test_a_rank_hangs_in_a_call(self):
        self.emulator['REID_EMU_FAULT'] = 'ncclAllReduce:9:sleep=60000@1,ncclCommRevoke:1:fail'
        self.check_fault('hangs', r'rank=0: .* timed out after .*rank 1')

    def test_a_rank_is_stopped(self):
        run = self.start('stopped', 'SOLVER.MAX_EPOCH', '50000', 'TEST.EVAL_PERIOD', '0', 'COMM.TIMEOUT_S', str(DEADLINE_S), ranks=2)
        rows = self.folder / 'stopped/metrics.json'
        common.wait_for(lambda: rows.exists() and rows.read_text() or run.poll() is not None, 60, 'it trains')
        victim, = [p for p in common.processes_with(str(self.folder / 'stopped'))
                   if common.exe_name(p) == 'reid-train' and b'OMPI_COMM_WORLD_RANK=1\0' in pathlib.Path(f'/proc/{p}/environ').read_bytes()]
        os.kill(victim, signal.SIGSTOP)
        try:
            text = run.communicate(timeout=60 * common.PATIENCE)[0]
        finally:
            if common.alive(victim):
                os.kill(victim, signal.SIGKILL)
        self.assertNotEqual(run.returncode, 0, text)
        self.assertRegex(text, r'rank=0: .*timed out after .*(nothing came from rank 1|rank 1 has not|of rank 1 is stopped)')
        self.assertTrue((self.folder / 'stopped/flight').exists())  # for those who look later

    def test_a_rank_dies(self):
        self.emulator['REID_EMU_FAULT'] = 'ncclAllReduce:9:kill@1'
        self.check_fault('dies', r'signal 9', within=30)


class Use(Cuda):
    def test_a_failed_graph_launch_ends_the_job(self):
        self.emulator['REID_EMU_FAULT'] = 'cudaGraphLaunch:3:fail@1'
        self.check_fault('launch', r'CUDA failed in cudaGraphLaunch')

    def test_stays_beside_its_gpu(self):
        """The emulator's GPU N is at 0000:0(N+1):00.0; what the kernel tells of it is made up."""
        core = max(os.sched_getaffinity(0))
        for name, text in [('bus/pci/devices/0000:01:00.0/numa_node', '1'), ('devices/system/node/node1/cpulist', f'{core}')]:
            file = self.folder / 'sys' / name
            file.parent.mkdir(parents=True)
            file.write_text(text + '\n')
        self.emulator['REID_SYSFS'] = str(self.folder / 'sys')
        text = self.clean('beside', 'SOLVER.MAX_EPOCH', '1', 'TEST.EVAL_PERIOD', '0')
        if len(os.sched_getaffinity(0)) > 1:
            self.assertIn('this rank stays on the 1 core of NUMA node 1, beside its GPU 0000:01:00.0', text)

    def test_fewer_gpus_than_ranks(self):
        self.emulator['REID_EMU_DEVICES'] = '1'
        self.check_fault('few', r'rank 1 is number 2 of 2 ranks on this node, and each needs a GPU of its own: there is no GPU 1: 1 is visible')

    def test_a_check_opens_no_gpu(self):
        self.emulator['REID_EMU_FAULT'] = 'cudaSetDevice:1:fail'
        for devices, words in [(2, ''), (1, 'each of the 2 ranks needs a GPU, and this node has 1')]:
            self.emulator['REID_EMU_DEVICES'] = str(devices)
            done = subprocess.run(self.command('x', flags=['--check-only', '--world', '2']), env=self.environment(), capture_output=True,
                                  text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual('needs a GPU' in done.stderr, bool(words))

    def test_two_ranks_on_one_gpu(self):
        self.emulator['CUDA_VISIBLE_DEVICES'] = '0'
        self.check_fault('shared', r'ranks 0 and 1 both have GPU \S+ of \S+: each rank needs a GPU of its own')

    def test_compression_needs_gpus(self):
        words = common.Case.command(self, 'x', 'COMM.COMPRESSION', 'bf16', *THIN)
        done = subprocess.run(words, env=super().environment(1), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn('COMM.COMPRESSION bf16: gradients are compressed between GPUs only', done.stderr)

    def test_no_module(self):
        self.emulator['REID_MODULE_DIR'] = str(self.folder)
        text = self.train('x', 'SOLVER.MAX_EPOCH', '1', code=2)
        self.assertIn(f"'{self.folder}/libreid-cuda.so'", text)


if __name__ == '__main__':
    if not (LIBRARIES / 'libcudart.so.13').exists():
        print(f'SKIP: there is no emulator in {LIBRARIES}')
        sys.exit(77)
    common.main()
