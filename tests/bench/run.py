#!/usr/bin/python3
"""Runs product and peer in turns on this machine and prints ratios.

    tests/bench/run.sh [NAME ...] [--rounds N] [--json FILE]

NAME: step50 (ResNet-50 256x128 batch 32), step18 (ResNet-18 128x64 batch 64), step18small (a quick look),
step50bf16, step18bf16 (activations in bfloat16), eval, evalsmall, rerank (evaluation of Market-1501's size, eval_run.py),
data (files to augmented images, data_run.py), start (from submit to the first step, start_run.py),
fanout, fanoutsmall (metrics to 1,000 subscribers, RPC calls, fanout_run.py).
Peers: PyTorch as it runs by default, and tuned (channels_last, malloc on huge pages). Limit: bench_floor, the same
convolutions, batch norms, additions and Adam called back to back through oneDNN.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import data_run
import eval_run
import fanout_run
import start_run

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', HERE.parents[1] / 'build/release'))
TUNED = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:'
                           'glibc.malloc.trim_threshold=34359738368'}
# As reid-train sets it for itself; for all alike.
SPIN = {} if 'OMP_WAIT_POLICY' in os.environ else {'GOMP_SPINCOUNT': os.environ.get('GOMP_SPINCOUNT', '1000')}
CASES = {
    'step50': ['--depth', '50x', '--height', '256', '--width', '128', '--batch', '32', '--steps', '2'],
    'step18': ['--depth', '18x', '--height', '128', '--width', '64', '--batch', '64', '--steps', '4'],
    'step18small': ['--depth', '18x', '--height', '64', '--width', '64', '--batch', '32', '--steps', '6'],
}
CASES |= {name + 'bf16': CASES[name] + ['--bf16', '1'] for name in ('step50', 'step18')}
RUNNERS = {
    'reidd': ([str(BUILD / 'tests/bench_step')], {}),
    'floor': ([str(BUILD / 'tests/bench_floor')], {}),
    'PyTorch default': (['/usr/bin/python3', str(HERE / 'peer_step.py')], {}),
    'PyTorch tuned': (['/usr/bin/python3', str(HERE / 'peer_step.py'), '--channels-last'], TUNED),
}
OTHERS = {'data': data_run.run, 'eval': eval_run.run, 'evalsmall': eval_run.run, 'rerank': eval_run.run, 'start': start_run.run,
          'fanout': fanout_run.run, 'fanoutsmall': fanout_run.run}


def run(runner, case, threads):
    command, env = RUNNERS[runner]
    out = subprocess.run(command + case + ['--threads', str(threads)], check=True, capture_output=True, text=True,
                         env={**os.environ, **SPIN, 'OMP_NUM_THREADS': str(threads), **env})
    return json.loads(out.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', default=['step18', 'step50'])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    args = parser.parse_args()
    results = {}
    for name in args.names:
        if name in OTHERS:
            results[name] = OTHERS[name](name, BUILD, args.rounds, args.threads)
            continue
        if name not in CASES:
            sys.exit(f"there is no benchmark '{name}'; known: {', '.join([*CASES, *OTHERS])}")
        samples = {runner: [] for runner in RUNNERS}
        peak = {}
        for _ in range(args.rounds):
            for runner in RUNNERS:  # in turns: machines drift
                result = run(runner, CASES[name], args.threads)
                samples[runner] += result['seconds']
                peak[runner] = result['peak_mib']
        batch = int(CASES[name][CASES[name].index('--batch') + 1])
        ours = statistics.median(samples['reidd'])
        print(f'{name}, {args.threads} threads\n{"":18}{"s/step":>9}{"min":>9}{"images/s":>10}{"MiB":>8}{"reidd is":>12}')
        results[name] = {}
        for runner in RUNNERS:
            median = statistics.median(samples[runner])
            print(f'{runner:18}{median:9.3f}{min(samples[runner]):9.3f}{batch / median:10.1f}{peak[runner]:8}'
                  f'{median / ours:10.2f} x')
            results[name][runner] = {'median_s': median, 'min_s': min(samples[runner]), 'peak_mib': peak[runner],
                                     'ratio': median / ours}
        floor = statistics.median(samples['floor'])
        print(f'reidd / floor: {ours / floor:.3f} by medians, {min(samples["reidd"]) / min(samples["floor"]):.3f} by minima')
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + '\n')


main()
