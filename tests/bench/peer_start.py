#!/usr/bin/python3
"""PyTorch's way to the first step of the demo job: imports, network, optimizer, three steps on random images. Prints one JSON
line with the clock at each. What fast-reid does besides (its own modules, the data set, worker processes) is left out."""
import argparse
import json
import pathlib
import sys
import time

import torch
import torchvision.transforms  # noqa: F401 (fast-reid's pipeline needs it)

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'parity'))
import network  # noqa: E402

imported = time.time()
parser = argparse.ArgumentParser()
parser.add_argument('--threads', type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)
model = network.Baseline('18x', 1, 150).train()
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3, weight_decay=5e-4)
built = time.time()
images, labels = torch.randn(32, 3, 64, 64), torch.arange(32) // 4
steps = []
for _ in range(4):
    logits, features = model(images)
    loss = network.cross_entropy(logits, labels, 0.1) + network.triplet(features, labels, 0.3)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    steps.append(time.time())
print(json.dumps({'imported': imported, 'built': built, 'steps': steps}))
