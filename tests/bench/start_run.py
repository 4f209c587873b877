"""From `reidctl submit` to the end of the first step: the demo job under a running reidd, beside PyTorch's start (peer_start.py).

Everything of the job is a new process, files and programs lie in the page cache. `beyond` is what passes besides one step:
the time to the end of the first step, less the median of the steps that follow."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
LIMIT_S = 0.6


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


def peer(threads):
    begin = time.time()
    out = subprocess.run(['/usr/bin/python3', str(HERE / 'peer_start.py'), '--threads', str(threads)], check=True,
                         capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': str(threads)})
    result = json.loads(out.stdout.splitlines()[-1])
    return {'imported_s': result['imported'] - begin, 'built_s': result['built'] - begin,
            **figures(begin, result['steps'])}


def measure(common, folder, rounds, threads):
    common.make_market(folder / 'data', train_ids=150, test_ids=50, images=6)  # as many images as the demo has
    daemon = common.Daemon(folder / 'state', '--slots', '2')
    runners = {'reidd, 1 rank': lambda i: job(common, daemon, folder, 1, i),
               'reidd, 2 ranks': lambda i: job(common, daemon, folder, 2, i),
               'PyTorch': lambda i: peer(threads)}
    if common.RANKS == 1:
        del runners['reidd, 2 ranks']
    try:
        samples = {name: [] for name in runners}
        for runner in runners.values():  # page cache; a job's first start on a machine also measures convolutions
            runner('warm')
        for i in range(rounds):
            for name, runner in runners.items():  # in turns: machines drift
                samples[name].append(runner(i))
    finally:
        daemon.stop()
    return {name: {key: statistics.median(s[key] for s in part) for key in part[0]} | {
        'beyond_min_s': min(s['beyond_s'] for s in part)} for name, part in samples.items()}


def run(name, build, rounds, threads):
    common = load_common(build)
    common.Case.folder = folder = pathlib.Path(common.tempfile.mkdtemp(prefix='reid-'))
    try:
        results = measure(common, folder, rounds, threads)
    finally:
        common.shutil.rmtree(folder, ignore_errors=True)
    ours = results['reidd, 1 rank']['beyond_s']
    print(f'start of the demo job, {rounds} rounds, medians\n'
          f'{"":18}{"first step":>12}{"a step":>9}{"beyond it":>11}{"min":>8}{"reidd is":>12}')
    for runner, r in results.items():
        r['ratio'] = r['beyond_s'] / ours
        print(f'{runner:18}{r["first_s"]:12.3f}{r["step_s"]:9.3f}{r["beyond_s"]:11.3f}{r["beyond_min_s"]:8.3f}'
              f'{r["ratio"]:10.2f} x')
    print(f'limit: {LIMIT_S} s beyond a step; submit itself {results["reidd, 1 rank"]["submitted_s"]:.3f} s; '
          f'PyTorch has imported after {results["PyTorch"]["imported_s"]:.3f} s, built after {results["PyTorch"]["built_s"]:.3f} s')
    return results
