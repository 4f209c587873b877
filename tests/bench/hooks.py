#!/usr/bin/python3
"""What a hook from outside costs per step: one job trains, hooks come and go in turns, and the time of its steps is compared.

    tests/bench/run.sh hooks [--rounds N] [--steps N] [--ranks N] [--json FILE]

Kinds, each on after_step and doing nothing: nobody; a client in C, waited for (sync) or not (async); one in Python over grpcio,
waited for; a Lua function.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'integration'))
import common  # noqa: E402
import hooking  # noqa: E402
import turns  # noqa: E402
from hooking import hook_pb2  # noqa: E402

CLIENT = common.BIN.parent / 'tests/bench_hook_client'
KINDS = ['none', 'C async', 'C sync', 'Python sync', 'Lua']
# The step of the smallest network and batch: nothing hides the cost of a hook.
TINY = ['SOLVER.IMS_PER_BATCH', '4', 'DATALOADER.NUM_INSTANCE', '2', 'SOLVER.MAX_EPOCH', '100000']


class Bench(hooking.HookCase):
    """Not a test case, but its job and daemon."""
    slots = 2

    def c_hook(self, job, mode):
        client = subprocess.Popen([CLIENT, f'unix:{self.daemon.socket}', job, mode], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        hook, _ = map(int, client.stdout.readline().split())

        def leave():
            client.stdin.close()
            assert client.wait(30) == 0
            client.stdout.close()
        return hook, leave

    def python_hook(self, job):
        remote = self.attach(job, deadline_seconds=10)
        return remote.id, lambda: self.assertEqual(remote.leave(), hooking.Code.OK)

    def lua_hook(self, job):
        text = 'function after_step(t) end'
        hook = self.hooks.Add(hook_pb2.AddHookRequest(job=job, lua=text), timeout=30).hook
        return hook, lambda: self.hooks.Remove(hook_pb2.HookRequest(job=job, hook=hook), timeout=30)

    def enter(self, job, kind):
        """Its id, and what makes it leave."""
        if kind == 'none':
            return 0, lambda: None
        if kind.startswith('C '):
            return self.c_hook(job, kind[2:])
        return self.python_hook(job) if kind.startswith('Python') else self.lua_hook(job)

    def turn(self, job, kind, steps):
        """Iterations of one turn, and the seconds a call that rank 0 has counted."""
        hook, leave = self.enter(job, kind)
        first = self.iteration(job) + 2
        while self.iteration(job) <= first + steps:
            time.sleep(0.2)  # looking costs, too
        row = self.list(job).get(hook)
        leave()
        return first, first + steps, row.seconds / row.calls if row and row.calls else 0


def measure(bench, ranks, rounds, steps):
    job = bench.running('bench', *hooking.QUIET, *TINY, 'SOLVER.IMS_PER_BATCH', str(4 * ranks), ranks=ranks)
    bench.further(job, 20)
    taken = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:  # in turns: machines drift
            taken[kind].append(bench.turn(job, kind, steps))
    bench.further(job, 5)  # the last rows come after the iteration is known
    wall = {r['iteration']: r['wall_ms'] for r in bench.daemon.rows(job) if 'total_loss' in r['metrics']}
    bench.tearDown()
    return {kind: {'step_us': [(wall[b] - wall[a]) / (b - a) * 1e3 for a, b, _ in parts],
                   'call_us': [call * 1e6 for _, _, call in parts]} for kind, parts in taken.items()}


def show(results, ranks, steps):
    print(f'{ranks} ranks, {steps} steps a turn, {len(results["none"]["step_us"])} turns of each kind, medians\n'
          f'{"":14}{"step µs":>10}{"more µs":>10}{"spent in the call µs":>22}')
    for kind, figures in results.items():
        # Against the turn without hooks of the same round.
        more = statistics.median(a - b for a, b in zip(figures['step_us'], results['none']['step_us']))
        print(f'{kind:14}{statistics.median(figures["step_us"]):10.0f}{more:10.0f}{statistics.median(figures["call_us"]):22.0f}')
    calls = {kind: statistics.median(figures['call_us']) for kind, figures in results.items()}
    return [turns.judge('a client in C, waited for, ms', calls['C sync'] / 1e3, '<=', 1),
            turns.judge('Python, waited for, ms', calls['Python sync'] / 1e3, '<=', 1),
            turns.judge('an asynchronous hook, of a 50 ms step', calls['C async'] / 50e3, '<=', 0.005)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--steps', type=int, default=100)
    parser.add_argument('--ranks', type=int, default=1)
    parser.add_argument('--json')
    args = parser.parse_args()
    Bench.setUpClass()
    try:
        results = measure(Bench(), args.ranks, args.rounds, args.steps)
    finally:
        Bench.tearDownClass()
    results['ratios'] = show(results, args.ranks, args.steps)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
    main()
