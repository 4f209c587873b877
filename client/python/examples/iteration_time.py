#!/usr/bin/env python3
"""Prints how long each iteration of a job takes: iteration_time.py JOB"""
import sys
import time

import reidd


class IterationTime(reidd.HookBase):
    def before_step(self):
        self.start = time.perf_counter()

    def after_step(self):
        print(f"iteration {self.trainer.iter}: {time.perf_counter() - self.start:.4f} s", flush=True)


if __name__ == "__main__":
    job = reidd.connect().job(sys.argv[1])
    job.register_hook(IterationTime()).wait()
