#!/usr/bin/python3
"""Peak resident memory of a ResNet-50 training step at each level of MODEL.RECOMPUTE, against PyTorch, and what a level
costs. Memory does not depend on what else the machine does; seconds do."""
import json
import os
import pathlib
import statistics
import subprocess

import turns

HERE = pathlib.Path(__file__).parent
LEVELS = ('none', 'norm', 'block', 'stage')
CASE = '--depth 50x --height 256 --width 128 --batch 32 --steps 2'


def run_one(command, threads):
    spin = {'GOMP_SPINCOUNT': os.environ.get('GOMP_SPINCOUNT', '1000')}
    out = subprocess.run([*map(str, command), *CASE.split(), '--threads', str(threads)], check=True, stdout=subprocess.PIPE,
                         text=True, env={**os.environ, **spin, 'OMP_NUM_THREADS': str(threads)})
    return json.loads(out.stdout.splitlines()[-1])


def run(name, build, rounds, threads):
    """memory50, memory50bf16."""
    bf16 = ['--bf16', '1' if name.endswith('bf16') else '0']
    runners = {level: [build / 'tests/bench_step', *bf16, '--recompute', level] for level in LEVELS}
    runners['PyTorch default'] = ['/usr/bin/python3', '-B', HERE / 'peer_step.py', *bf16]
    samples = {runner: [] for runner in runners}
    for _ in range(rounds):
        for runner, command in runners.items():
            samples[runner].append(run_one(command, threads))
    peer = samples['PyTorch default'][-1]['peak_mib']
    print(f'{name}, {threads} threads\n{"":18}{"MiB":>8}{"plan":>8}{"of PyTorch":>12}{"s/step":>9}{"min":>9}')
    figures = {}
    for runner, results in samples.items():
        seconds = [s for result in results for s in result['seconds']]
        peak = max(result['peak_mib'] for result in results)
        figures[runner] = {'peak_mib': peak, 'ratio': peak / peer, 'median_s': statistics.median(seconds),
                           'min_s': min(seconds), 'losses': sorted({result.get('loss', 0) for result in results})}
        plan = results[-1].get('arena_mib', '')
        print(f'{runner:18}{peak:8}{plan:8}{peak / peer:12.3f}{figures[runner]["median_s"]:9.3f}{min(seconds):9.3f}')
    if len({tuple(figures[level]['losses']) for level in LEVELS}) != 1:
        raise SystemExit('the levels trained to different losses')
    return {**figures, 'ratios': [turns.judge(f'peak with MODEL.RECOMPUTE {level} / PyTorch', figures[level]['ratio'], '<=', 0.6)
                                  for level in LEVELS]}
