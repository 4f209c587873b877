"""The benchmark `eval`: evaluation of Market-1501's size, bench_eval against fast-reid's way (eval_peer.py) on the same
features. `evalsmall`: a quarter of the queries. `rerank`: with re-ranking, on as many images as the dense way takes."""
import os
import pathlib
import tempfile

import turns

HERE = pathlib.Path(__file__).parent
SIZES = {'eval': ['--queries', 3368, '--gallery', 15913, '--dim', 2048],
         'evalsmall': ['--queries', 842, '--gallery', 15913, '--dim', 2048],
         'rerank': ['--queries', 500, '--gallery', 3500, '--dim', 2048]}


def compare(ours, theirs):
    """Equal CMC; the rest may differ where two distances differ in their last bit only."""
    cmc = max(abs(x - y) for x, y in zip(ours['cmc'], theirs['cmc']))
    return max(abs(ours['mAP'] - theirs['mAP']), abs(ours['mINP'] - theirs['mINP'])), cmc


def run(name, build, rounds, threads):
    figures = {}
    os.environ['OMP_NUM_THREADS'] = str(threads)
    shared = pathlib.Path('/dev/shm')
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        data = pathlib.Path(folder) / 'features'
        product, peer = build / 'tests/bench_eval', ['/usr/bin/python3', HERE / 'eval_peer.py']
        turns.subprocess.run([str(word) for word in [product, '--write', data, *SIZES[name]]], check=True)
        for metric in ('cosine', 'euclidean') if name == 'eval' else ('cosine',):
            arguments = ['--data', data, '--threads', threads, '--metric', metric, '--rerank', int(name == 'rerank')]
            samples = turns.in_turns({'reidd': [product, *arguments], 'as fast-reid': [*peer, *arguments]}, rounds)
            figures[metric] = turns.table(f'{name}, {metric}, {threads} threads', samples,
                                          {'beyond MiB': lambda s: f'{s["last"]["beyond_mib"]:.0f}'})
            ours, theirs = samples['reidd']['last'], samples['as fast-reid']['last']
            scores, cmc = compare(ours, theirs['double'])
            print(f'mAP {ours["mAP"]:.8f}, mINP {ours["mINP"]:.8f}, Rank-1 {ours["cmc"][0]:.8f}; fast-reid differs by '
                  f'{scores:.1e} in mAP or mINP, by {cmc:.1e} in CMC (images whose distances differ in the last bit)')
            for runner, s in samples.items():
                figures[metric][runner]['beyond_mib'] = s['last']['beyond_mib']
            figures[metric]['difference'] = {'scores': scores, 'cmc': cmc}
            target = {'eval': 7, 'rerank': 5}.get(name)
            figures[metric]['ratios'] = [
                turns.judge('as fast-reid / reidd', figures[metric]['as fast-reid']['ratio'], '>=', target),
                turns.judge('MiB beyond the features', figures[metric]['reidd']['beyond_mib'], '<=', 300),
                turns.judge('difference of CMC', cmc, '<=', 1e-9)]  # of two sums of the same ones
    return figures
