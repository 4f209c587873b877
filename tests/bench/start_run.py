"""From `reidctl submit` to the end of the first step: the demo job under a running reidd, beside PyTorch's start (peer_start.py).

Everything of the job is a new process, files and programs lie in the page cache. `beyond` is what passes besides one step:
the time to the end of the first step, less the median of the steps that follow. A virtual machine may give its free memory
back to its host, and then needs milliseconds a megabyte to get it again: what first use costs is shown beside. `first ever` has no
choice of convolutions kept from earlier jobs."""
import json
import mmap
import os
import pathlib
import statistics
import subprocess
import sys
import time

import turns

HERE = pathlib.Path(__file__).parent
LIMIT_S = 0.6
PAUSE_S = 4  # of idleness before a job, in which free memory may go
POPULATE_WRITE = 23  # MADV_…


def load_common(build):
    os.environ['REID_BUILD_DIR'] = str(build)
    sys.path.insert(0, str(HERE.parent / 'integration'))
    import common
    return common


def figures(begin, ends):
    """ends: clock at the end of each step."""
    step = statistics.median(b - a for a, b in zip(ends, ends[1:]))
    return {'first_s': ends[0] - begin, 'step_s': step, 'beyond_s': ends[0] - begin - step}


def job(common, daemon, folder, ranks, number):
    """Submits the demo job and cancels it after five steps."""
    name = f'start-{ranks}-{number}'
    begin = time.time()
    done = daemon.ctl('submit', '--name', name, '-n', ranks, common.CONFIG, 'DATASETS.ROOT', folder / 'data',
                      'OUTPUT_DIR', folder / name, 'TEST.EVAL_PERIOD', '0', 'SOLVER.CHECKPOINT_PERIOD', '1000')
    submitted = time.time() - begin
    assert done.returncode == 0, done.stderr
    time.sleep(1)  # looking would take the processor from what is measured
    rows = common.wait_for(lambda: (lambda r: r if len(r) >= 5 else None)(daemon.rows(name)), 60, 'five steps')
    daemon.ctl('cancel', '--grace', '5', name)
    daemon.wait_state(name, ('CANCELLED', 'FAILED', 'SUCCEEDED'), 20)
    ends = [r['wall_ms'] / 1e3 for r in rows if 'total_loss' in r['metrics']]
    return {'submitted_s': submitted, **figures(begin, ends)}


def first_touch(mib):
    """Seconds until so much fresh memory is there. It is free again afterwards, and for a while with this machine."""
    with mmap.mmap(-1, mib << 20) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        begin = time.monotonic()
        memory.madvise(POPULATE_WRITE)
        return time.monotonic() - begin


def peer(threads):
    begin = time.time()
    out = subprocess.run(['/usr/bin/python3', str(HERE / 'peer_start.py'), '--threads', str(threads)], check=True,
                         capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': str(threads)})
    result = json.loads(out.stdout.splitlines()[-1])
    return {'imported_s': result['imported'] - begin, 'built_s': result['built'] - begin,
            **figures(begin, result['steps'])}


def measure(common, folder, rounds, threads):
    common.make_market(folder / 'data', train_ids=150, test_ids=50, images=6)  # as many images as the demo has
    cache = folder / 'cache'
    os.environ['XDG_CACHE_HOME'] = str(cache)
    daemon = common.Daemon(folder / 'state', '--slots', '2')

    def start(ranks, number, first_ever=False):
        if first_ever:
            common.shutil.rmtree(cache, ignore_errors=True)
        time.sleep(PAUSE_S)
        return job(common, daemon, folder, ranks, f'{number}{"-first" if first_ever else ""}')

    runners = {'1 rank': lambda i: start(1, i),
               '2 ranks': lambda i: start(2, i),
               '1 rank, first ever': lambda i: start(1, i, True),
               'PyTorch': lambda i: peer(threads)}
    if common.RANKS == 1:
        runners = {name: runner for name, runner in runners.items() if not name.startswith('2')}
    try:
        samples = {name: [] for name in runners}
        for name in ('1 rank', 'PyTorch'):  # into the page cache
            runners[name]('warm')
        for i in range(rounds):
            for name, runner in runners.items():  # in turns: machines drift
                samples[name].append(runner(i))
        time.sleep(PAUSE_S)
        touched = [first_touch(256), first_touch(256)]
    finally:
        daemon.stop()
    return {name: {key: statistics.median(s[key] for s in part) for key in part[0]} | {
        'beyond_min_s': min(s['beyond_s'] for s in part), 'beyond_max_s': max(s['beyond_s'] for s in part)}
        for name, part in samples.items()}, touched


def run(name, build, rounds, threads):
    common = load_common(build)
    common.Case.folder = folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
    try:
        results, touched = measure(common, folder, rounds, threads)
    finally:
        common.shutil.rmtree(folder, ignore_errors=True)
    ours = results['1 rank']
    print(f'start of the demo job, {rounds} rounds, medians\n'
          f'{"":24}{"first step":>12}{"a step":>9}{"beyond it":>11}{"min":>8}{"max":>8}{"reidd is":>12}')
    for runner, r in results.items():
        r['ratio'] = r['beyond_s'] / ours['beyond_s']
        print(f'{runner:24}{r["first_s"]:12.3f}{r["step_s"]:9.3f}{r["beyond_s"]:11.3f}{r["beyond_min_s"]:8.3f}{r["beyond_max_s"]:8.3f}'
              f'{r["ratio"]:10.2f} x')
    print(f'submit itself {ours["submitted_s"]:.3f} s; PyTorch has imported after {results["PyTorch"]["imported_s"]:.3f} s, built after '
          f'{results["PyTorch"]["built_s"]:.3f} s; first touch of 256 MiB as found {touched[0]:.3f} s, again {touched[1]:.3f} s')
    results['touched_s'] = touched
    results['ratios'] = [turns.judge(f'{runner}, s beyond a step', r['beyond_s'], '<=', LIMIT_S) for runner, r in results.items()
                         if 'rank' in runner]
    return results
