#!/usr/bin/env python3
"""Submits a configuration and follows its metrics: watch.py CONFIG [KEY VALUE ...]"""
import sys

import reidd

job = reidd.connect().submit(sys.argv[1], overrides=sys.argv[2:])
print(f"job {job.id}", flush=True)
for m in job.metrics(follow=True, names=["total_loss", "lr", "mAP"]):
    print(f"epoch {m.epoch} iteration {m.iteration}: " + " ".join(f"{k}={v:.5g}" for k, v in sorted(m.items())), flush=True)
job.wait(check=True)
