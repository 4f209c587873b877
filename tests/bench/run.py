#!/usr/bin/python3
"""Runs product and peers in turns on this machine, prints ratios and whether they reach their targets.

    tests/bench/run.sh [NAME ...] [--rounds N] [--json FILE]

NAME is a row of the table below, or eval, evalsmall, rerank (evaluation of Market-1501's size, eval_run.py), data (files to
augmented images, data_run.py), memory50, memory50bf16 (peak memory at each MODEL.RECOMPUTE, memory_run.py), start (from
submit to the first step, start_run.py), fanout, fanoutsmall (metrics to 1,000 subscribers, RPC calls, fanout_run.py).
Peers: PyTorch as it runs by default, and tuned (channels_last, malloc on huge pages), with several ranks as
DistributedDataParallel over gloo. Limit: bench_floor, the same convolutions, batch norms, additions and Adam called back to
back through oneDNN.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import data_run
import eval_run
import fanout_run
import memory_run
import start_run
import turns

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', HERE.parents[1] / 'build/release'))
TUNED = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:'
                           'glibc.malloc.trim_threshold=34359738368'}
# As reid-train sets it for itself; for all alike.
SPIN = {} if 'OMP_WAIT_POLICY' in os.environ else {'GOMP_SPINCOUNT': os.environ.get('GOMP_SPINCOUNT', '1000')}
PRODUCT, PEER = [BUILD / 'tests/bench_step'], ['/usr/bin/python3', '-B', HERE / 'peer_step.py']

# name: command, environment
RUNNERS = {
    'reidd': (PRODUCT, {}),
    'floor': ([BUILD / 'tests/bench_floor'], {}),
    'PyTorch default': (PEER, {}),
    'PyTorch tuned': ([*PEER, '--tuned'], TUNED),
}
# For the rows of several ranks: each of them has its share of the threads; 'one rank' has all.
RUNNERS_RANKS = {
    'reidd': (PRODUCT, {}),
    'one rank': (PRODUCT, {}),
    'DDP default': (PEER, {}),
    'DDP tuned': ([*PEER, '--tuned'], TUNED),
}

RESNET50 = '--depth 50x --height 256 --width 128 --batch 32 --steps 2'
RESNET18 = '--depth 18x --height 128 --width 64 --batch 64 --steps 4'
SMALL = '--depth 18x --height 64 --width 64 --batch 32 --steps 6'
BF16 = ' --bf16 1'


@dataclasses.dataclass
class Row:
    case: str  # options of bench_step, bench_floor and peer_step.py
    # (what is divided, by what, sense, target): medians of seconds per step, or peak memory where 'MiB' comes first
    targets: tuple = ()
    ranks: int = 1


ROWS = {
    'step50': Row(RESNET50, (('reidd', 'floor', '<=', 1.10), ('PyTorch default', 'reidd', '>=', 2.6),
                             ('PyTorch tuned', 'reidd', '>=', 1.35), ('MiB reidd', 'PyTorch default', '<=', 0.6))),
    'step18': Row(RESNET18, (('reidd', 'floor', '<=', 1.15), ('PyTorch default', 'reidd', '>=', 2.1))),
    'step18small': Row(SMALL, (('reidd', 'floor', '', None), ('PyTorch default', 'reidd', '', None))),
    'step50bf16': Row(RESNET50 + BF16, (('reidd', 'floor', '<=', 1.12), ('PyTorch default', 'reidd', '>=', 1.5),
                                        ('PyTorch tuned', 'reidd', '>=', 1.12),
                                        ('MiB reidd', 'PyTorch default', '<=', 0.6))),
    'step18bf16': Row(RESNET18 + BF16, (('reidd', 'floor', '<=', 1.15), ('PyTorch default', 'reidd', '>=', 1.4))),
    'ddp50': Row(RESNET50, (('DDP default', 'reidd', '>=', 1.9), ('one rank', 'reidd', '>=', 0.95)), ranks=2),
    'ddp18small': Row(SMALL, (('DDP default', 'reidd', '', None), ('one rank', 'reidd', '', None)), ranks=2),
}
OTHERS = {'data': data_run.run, 'eval': eval_run.run, 'evalsmall': eval_run.run, 'rerank': eval_run.run, 'start': start_run.run,
          'memory50': memory_run.run, 'memory50bf16': memory_run.run,
          'fanout': fanout_run.run, 'fanoutsmall': fanout_run.run}


def run_once(command, extra, case, ranks, threads):
    """One process, or `ranks` of them under mpirun; the JSON line."""
    env = {**os.environ, **SPIN, 'OMP_NUM_THREADS': str(threads), **extra}
    command = [*map(str, command), *case.split(), '--threads', str(threads)]
    with tempfile.TemporaryDirectory(prefix='reid-') as folder:
        if ranks > 1:
            env |= {'BENCH_RENDEZVOUS': folder + '/ranks', 'GLOO_SOCKET_IFNAME': 'lo', 'TMPDIR': folder}
            command = ['mpirun', '--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '--mca', 'btl', 'self,vader',
                       '--mca', 'pml', 'ob1', '-np', str(ranks), *command]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    return json.loads(out.stdout.splitlines()[-1])


def measure(row, rounds, threads):
    """Runner to samples: `seconds` of all steps, `peak_mib`, `runs` (the JSON lines)."""
    runners = RUNNERS if row.ranks == 1 else RUNNERS_RANKS
    samples = {name: {'seconds': [], 'runs': []} for name in runners}
    for _ in range(rounds):
        for name, (command, env) in runners.items():  # in turns: machines drift
            ranks = 1 if name == 'one rank' else row.ranks
            result = run_once(command, env, row.case, ranks, max(threads // ranks, 1))
            samples[name]['seconds'] += result['seconds']
            samples[name]['peak_mib'] = result['peak_mib']
            samples[name]['runs'].append(result)
    return samples


def overlap(runs, step_s):
    """Where the all-reduce went. What a rank waits for after backward should be its last bucket, nothing more."""
    exposed = [s for run in runs for s in run['exposed_s']]
    steps = [buckets for run in runs for buckets in run['buckets']]
    beyond = [s - buckets[-1]['took_ms'] / 1e3 for s, buckets in zip(exposed, steps)]
    print(f'{"bucket":>8}{"MiB":>8}{"begins":>10}{"others":>9}{"took":>9}   ms, medians; begins: after the end of backward;'
          ' others: waiting for their data')
    table = []
    for i, parts in enumerate(zip(*steps)):
        table.append({key: statistics.median(p[key] for p in parts) for key in parts[0]})
        print(f'{i + 1:8}{table[i]["mib"]:8.2f}{table[i]["start_ms"]:10.1f}{table[i]["others_ms"]:9.1f}{table[i]["took_ms"]:9.1f}')
    figures = {'exposed_s': statistics.median(exposed), 'beyond_last_bucket_s': statistics.median(beyond), 'buckets': table,
               'allreduce_s': statistics.median(s for run in runs for s in run['allreduce_s'])}
    print(f'all-reduce {figures["allreduce_s"] * 1e3:.1f} ms a step, {figures["exposed_s"] * 1e3:.1f} ms of it after backward, '
          f'the last bucket alone {table[-1]["took_ms"]:.1f} ms')
    return figures, [turns.judge('exposed beyond the last bucket, of a step', figures['beyond_last_bucket_s'] / step_s, '<=', 0.01)]


def show(name, row, samples, threads):
    images = int(row.case.split('--batch ')[1].split()[0])
    each = f'{row.ranks} ranks, {max(threads // row.ranks, 1)} thread each' if row.ranks > 1 else f'{threads} threads'
    print(f'{name}, {each}\n{"":18}{"s/step":>9}{"min":>9}{"images/s":>10}{"MiB":>8}{"reidd is":>12}')
    figures = {}
    ours = statistics.median(samples['reidd']['seconds'])
    for runner, s in samples.items():
        median = statistics.median(s['seconds'])
        figures[runner] = {'median_s': median, 'min_s': min(s['seconds']), 'peak_mib': s['peak_mib'], 'ratio': median / ours,
                           'seconds': s['seconds']}
        print(f'{runner:18}{median:9.3f}{min(s["seconds"]):9.3f}{images / median:10.1f}{s["peak_mib"]:8}{median / ours:10.2f} x')
    return figures


def judge(row, figures):
    ratios = []
    for above, below, sense, target in row.targets:
        memory = above.startswith('MiB ')
        key, above = ('peak_mib', above[4:]) if memory else ('median_s', above)
        minima = None if memory else figures[above]['min_s'] / figures[below]['min_s']
        ratios.append(turns.judge(f'{above} / {below}{" memory" if memory else ""}', figures[above][key] / figures[below][key],
                                  sense, target, minima))
    return ratios


def run_row(name, rounds, threads):
    row = ROWS[name]
    samples = measure(row, rounds, threads)
    figures = show(name, row, samples, threads)
    ratios = judge(row, figures)
    if row.ranks > 1:
        figures['overlap'], more = overlap(samples['reidd']['runs'], figures['reidd']['median_s'])
        ratios += more
    return {**figures, 'ratios': ratios}


def machine():
    """What a figure must be read with."""
    revision = 'unknown'
    if shutil.which('git'):
        done = subprocess.run(['git', '-C', HERE, 'describe', '--always', '--dirty'], capture_output=True, text=True)
        revision = done.stdout.strip() or revision
    cpu = dict(re.findall(r'^(model name|model|stepping)\s*: (.*)$', pathlib.Path('/proc/cpuinfo').read_text(), re.M))
    return {'revision': revision, 'cpu': cpu, 'cores': len(os.sched_getaffinity(0)),
            'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', default=['step18', 'step50'])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    args = parser.parse_args()
    for name in args.names:
        if name not in ROWS and name not in OTHERS:
            sys.exit(f"there is no benchmark '{name}'; known: {', '.join([*ROWS, *OTHERS])}")
    results = {'machine': machine(), 'rounds': args.rounds, 'threads': args.threads}
    for name in args.names:
        before = os.getloadavg()[0]
        results[name] = (run_row(name, args.rounds, args.threads) if name in ROWS
                         else OTHERS[name](name, BUILD, args.rounds, args.threads))
        load = {'before': before, 'after': os.getloadavg()[0]}
        print(f'load {load["before"]:.2f} before, {load["after"]:.2f} after', flush=True)
        if isinstance(results[name], dict):
            results[name]['load'] = load
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + '\n')


main()
