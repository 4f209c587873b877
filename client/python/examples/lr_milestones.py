#!/usr/bin/env python3
"""Divides a job's learning rate by ten at milestones: lr_milestones.py JOB ITERATION..."""
import sys

import reidd


class Milestones(reidd.HookBase):
    def __init__(self, milestones, gamma=0.1):
        self.milestones = sorted(milestones)
        self.gamma = gamma

    def before_step(self):
        if self.trainer.iter in self.milestones:  # holds for this very step, on every rank
            self.trainer.lr *= self.gamma
            print(f"iteration {self.trainer.iter}: lr is {self.trainer.lr:g}", flush=True)


if __name__ == "__main__":
    job = reidd.connect().job(sys.argv[1])
    hook = Milestones([int(word) for word in sys.argv[2:]])
    # Without this hook the training would be another one: it must not go on if the hook fails.
    job.register_hook(hook, on_late="fail", on_lost="fail", on_error="fail", deadline=10).wait()
