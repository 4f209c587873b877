#!/usr/bin/python3
"""The same training step as bench_step in PyTorch: forward, losses, backward, Adam. Prints one JSON line."""
import argparse
import json
import pathlib
import resource
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'parity'))
import network  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument('--depth', default='50x')
for name, value in [('height', 256), ('width', 128), ('batch', 32), ('steps', 3), ('warmup', 1), ('threads', 2),
                    ('bf16', 0)]:
    parser.add_argument('--' + name, type=int, default=value)
parser.add_argument('--channels-last', action='store_true')
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(1)
model = network.Baseline(args.depth, 1, 751).train()
images = torch.randn(args.batch, 3, args.height, args.width)
if args.channels_last:
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
labels = torch.arange(args.batch) // 4 % 751
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
print(json.dumps({'seconds': seconds, 'peak_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
