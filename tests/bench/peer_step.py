#!/usr/bin/python3
"""The same training step as bench_step in PyTorch: forward, losses, backward, Adam. Prints one JSON line.

Under mpirun: DistributedDataParallel over gloo, the batch shared among the ranks, as fast-reid sets it up. The environment
must name a file in BENCH_RENDEZVOUS, through which the ranks find each other."""
import argparse
import json
import os
import pathlib
import resource
import sys
import time

import torch
import torch.distributed

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'parity'))
import network  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument('--depth', default='50x')
for name, value in [('height', 256), ('width', 128), ('batch', 32), ('steps', 3), ('warmup', 1), ('threads', 2),
                    ('bf16', 0)]:
    parser.add_argument('--' + name, type=int, default=value)
parser.add_argument('--tuned', action='store_true', help='channels_last; gradients as views of the buckets')
args = parser.parse_args()

rank, ranks = (int(os.environ.get('OMPI_COMM_WORLD_' + name, value)) for name, value in (('RANK', 0), ('SIZE', 1)))
batch = args.batch // ranks
torch.set_num_threads(args.threads)
torch.manual_seed(1)
model = network.Baseline(args.depth, 1, 751).train()
images = torch.randn(batch, 3, args.height, args.width)
if args.tuned:
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
if ranks > 1:
    torch.distributed.init_process_group('gloo', init_method='file://' + os.environ['BENCH_RENDEZVOUS'], rank=rank,
                                         world_size=ranks)
    model = torch.nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=args.tuned)
labels = torch.arange(batch) // 4 % 751
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3.5e-4, weight_decay=5e-4)
seconds = []
for i in range(args.warmup + args.steps):
    start = time.perf_counter()
    with torch.autocast('cpu', torch.bfloat16, enabled=args.bf16 == 1):
        logits, features = model(images)
    logits, features = logits.float(), features.float()
    loss = network.cross_entropy(logits, labels, 0.1) + network.triplet(features, labels, 0.3)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if i >= args.warmup:
        seconds.append(round(time.perf_counter() - start, 4))
peak_mib = torch.tensor([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024])
if ranks > 1:
    torch.distributed.all_reduce(peak_mib)
if rank == 0:
    print(json.dumps({'seconds': seconds, 'ranks': ranks, 'peak_mib': int(peak_mib)}))
