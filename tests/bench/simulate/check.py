#!/usr/bin/env python3
"""Holds simulate.py against reality: two ranks of one thread in two network namespaces, joined by a veth pair whose
ends tc limits to a rate. By hand, as root:

    REID_BUILD_DIR=build/release tests/bench/simulate/check.py [--depth 18x] [--rate-mbit 1000 200] [--json FILE]

Prints for each rate: seconds of a step without and with the all-reduce, and what is simulated from
(a) the seconds of each call, measured without all-reduce, and the link's rate; (b) the same, but each bucket's
all-reduce as measured with nothing beside it; (c) the roofline of devices/cpu-avx512-core.json and the link's rate.
OMPI_MCA_* of the environment are passed on.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import simulate

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', HERE.parents[2] / 'build/release'))
NAMES = [f'reidsim{os.getpid()}a', f'reidsim{os.getpid()}b']
LINKS = [f'rs{os.getpid()}a', f'rs{os.getpid()}b']
NET = '10.199.77'
CASES = {
    '18x': ['INPUT.SIZE_TRAIN', '[128, 64]', 'MODEL.BACKBONE.FEAT_DIM', '512', 'SOLVER.IMS_PER_BATCH', '64'],
    '50x': ['INPUT.SIZE_TRAIN', '[256, 128]', 'SOLVER.IMS_PER_BATCH', '16'],
}


def call(*words):
    subprocess.run(words, check=True)


def limit(rate_mbit):
    """Tokens for a millisecond; a queue that holds all that TCP has under way, so that nothing is lost."""
    burst = max(32768, int(rate_mbit * 1e6 / 8 * 1e-3))
    for name, link in zip(NAMES, LINKS):
        call('tc', '-n', name, 'qdisc', 'replace', 'dev', link, 'root', 'tbf', 'rate', f'{rate_mbit}mbit', 'burst',
             str(burst), 'limit', str(64 << 20))


@contextlib.contextmanager
def namespaces():
    try:
        for name in NAMES:
            call('ip', 'netns', 'add', name)
        call('ip', 'link', 'add', LINKS[0], 'netns', NAMES[0], 'type', 'veth', 'peer', 'name', LINKS[1], 'netns',
             NAMES[1])
        for i, (name, link) in enumerate(zip(NAMES, LINKS)):
            call('ip', '-n', name, 'addr', 'add', f'{NET}.{i + 1}/24', 'dev', link)
            call('ip', '-n', name, 'link', 'set', 'lo', 'up')
            call('ip', '-n', name, 'link', 'set', link, 'up')
        yield
    finally:
        for name in NAMES:
            subprocess.run(['ip', 'netns', 'del', name], check=False, capture_output=True)


def run_ranks(folder, arguments):
    """mpirun in the first namespace; its agent starts orted in the second, as ssh would on another node."""
    agent = folder / 'agent'
    agent.write_text('#!/bin/sh\n# NODE COMMAND...: the words are a shell line, as for ssh\nnode=$1; shift\n'
                     f'exec ip netns exec {NAMES[1]} unshare --uts sh -c "hostname $node; exec $*"\n')
    agent.chmod(0o755)
    out = folder / 'operations.json'
    parameters = {
        'plm': 'rsh', 'plm_rsh_agent': str(agent), 'plm_rsh_no_tree_spawn': '1', 'orte_leave_session_attached': '1',
        'plm_rsh_pass_environ_mca_params': '0', 'oob_tcp_if_include': f'{NET}.0/24',
        'btl_tcp_if_include': f'{NET}.0/24', 'btl': 'self,tcp', 'pml': 'ob1', 'hwloc_base_binding_policy': 'none',
        'mpi_yield_when_idle': '1',
    }
    environment = {'PATH': os.environ['PATH'], 'HOME': str(folder), 'TMPDIR': str(folder), 'OMP_NUM_THREADS': '1',
                   'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1',
                   **{f'OMPI_MCA_{key}': value for key, value in parameters.items()},
                   **{key: value for key, value in os.environ.items() if key.startswith('OMPI_MCA_')}}
    command = ['mpirun', '--host', 'reidsim-a:1,reidsim-b:1', '-np', '2', '-x', 'OMP_NUM_THREADS',
               str(BUILD / 'tests/bench_operations'), '--threads', '1', '--out', str(out), *arguments]
    line = 'hostname reidsim-a; exec "$@"'
    subprocess.run(['ip', 'netns', 'exec', NAMES[0], 'unshare', '--uts', 'sh', '-c', line, 'sh', *command], check=True,
                   env=environment, timeout=300, stdin=subprocess.DEVNULL)
    return json.loads(out.read_text())


def compare(operations, device, rate_mbit):
    cluster = simulate.cluster_of(device, 2, 1, rate_mbit / 1000)
    megabytes = [operations['reducer'][key] / simulate.MIB for key in ('first_bucket_bytes', 'bucket_bytes')]

    def predict(compute, costs=None):
        return simulate.simulate(operations, compute, cluster, *megabytes, 'direct', costs=costs)

    compute, measured = simulate.measured(operations), operations['measured']
    model = predict(compute)
    sizes = [bucket[0] for bucket in model.buckets]
    if sizes != [bucket['bytes'] for bucket in measured['buckets']]:
        sys.exit(f"simulate.py cuts other buckets ({sizes}) than the reducer ({measured['buckets']})")
    bare = [bucket['bare_s'] for bucket in measured['buckets']]
    roofline = simulate.roofline(operations, device)
    return {
        'rate_mbit': rate_mbit, 'plain_s': statistics.median(measured['plain_s']),
        'reduced_s': statistics.median(measured['reduced_s']), 'exposed_s': statistics.median(measured['exposed_s']),
        'a_s': model.seconds, 'a_exposed_s': model.exposed, 'b_s': predict(compute, bare).seconds,
        'b_exposed_s': predict(compute, bare).exposed, 'c_s': predict(roofline).seconds, 'c_plain_s': roofline.total(),
        'bare_s': sum(bare), 'bare_model_s': model.communication,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--depth', choices=sorted(CASES), default='18x')
    parser.add_argument('--rate-mbit', type=float, nargs='+', default=[1000, 200])
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--json', help='appends a line for each rate')
    parser.add_argument('settings', nargs='*', help='KEY VALUE ...')
    args = parser.parse_args()
    missing = [name for name in ('ip', 'tc', 'unshare', 'mpirun') if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        sys.exit(f'this needs root and {", ".join(missing) or "its rights"}')
    device = simulate.load(HERE / 'devices/cpu-avx512-core.json')
    settings = ['MODEL.BACKBONE.DEPTH', args.depth, 'MODEL.CONVOLUTION', 'direct', *CASES[args.depth], *args.settings]
    print(f'{"Mbit/s":>8}{"alone":>9}{"step":>9}{"exposed":>9} |{"(a)":>9}{"error":>8}{"exposed":>9} |{"(b)":>9}'
          f'{"error":>8}{"exposed":>9} |{"(c)":>9}{"error":>8}{"alone":>9} |{"all-reduce":>11}{"model":>9}')
    with namespaces(), tempfile.TemporaryDirectory(prefix='reidsim-') as folder:
        for rate in args.rate_mbit:
            limit(rate)
            operations = run_ranks(pathlib.Path(folder), ['--steps', str(args.steps), *settings])
            r = compare(operations, device, rate)

            def error(key):
                return f'{(r[key] / r["reduced_s"] - 1) * 100:7.1f}%'

            print(f'{rate:8.0f}{r["plain_s"]:9.3f}{r["reduced_s"]:9.3f}{r["exposed_s"]:9.3f} |{r["a_s"]:9.3f}'
                  f'{error("a_s")}{r["a_exposed_s"]:9.3f} |{r["b_s"]:9.3f}{error("b_s")}{r["b_exposed_s"]:9.3f} |'
                  f'{r["c_s"]:9.3f}{error("c_s")}{r["c_plain_s"]:9.3f} |{r["bare_s"]:11.3f}{r["bare_model_s"]:9.3f}',
                  flush=True)
            if args.json:
                with open(args.json, 'a', encoding='utf-8') as file:
                    file.write(json.dumps({'depth': args.depth, **r}) + '\n')


main()
