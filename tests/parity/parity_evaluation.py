#!/usr/bin/python3
"""Ranking by the Market-1501 protocol, and k-reciprocal re-ranking, against plain numpy versions.

usage: parity_evaluation.py PARITY_DATA_TOOL
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

MAX_RANK = 50


def distances(query, gallery, metric):
    if metric == "cosine":
        query = query / np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-12)
        gallery = gallery / np.maximum(np.linalg.norm(gallery, axis=1, keepdims=True), 1e-12)
        return np.float32(1) - query @ gallery.T
    return (query**2).sum(1, keepdims=True) + (gallery**2).sum(1)[None] - 2 * query @ gallery.T


def reciprocal(order, i, k):
    near = order[i, :k]
    return near[(order[near, :k] == i).any(axis=1)]


def jaccard(query, gallery, metric, k1, k2):
    """Distances between k-reciprocal neighbourhoods, with matrices of everything."""
    x = np.concatenate([query, gallery])
    if metric == "cosine":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    squared = distances(x, x, "euclidean")
    order = np.argsort(squared, axis=1, kind="stable")[:, :k1]
    half = int(np.around(k1 / 2)) + 1
    v = np.zeros_like(squared)
    for i in range(len(x)):
        near = reciprocal(order, i, k1)
        members = set(near)
        for candidate in near:
            its = reciprocal(order, candidate, half)
            if len(np.intersect1d(its, near)) > 2 / 3 * len(its):
                members |= set(its)
        members = sorted(members)
        weights = np.exp(-(squared[i, members] - squared[i, members].min()))
        v[i, members] = weights / weights.sum()
    if k2 != 1:
        v = np.stack([v[order[i, :k2]].mean(axis=0) for i in range(len(x))])
    shared = np.stack([np.minimum(row, v[len(query):]).sum(axis=1) for row in v[:len(query)]])
    return np.maximum(1 - shared / (2 - shared), 0)


def evaluate(case, metric, rerank=None):
    """CMC, mAP, mINP, valid queries, straight from their definitions."""
    query, gallery, q_pids, q_cams, g_pids, g_cams = case
    matrix = distances(query, gallery, metric)
    if rerank:
        k1, k2, weight = rerank
        matrix = (1 - weight) * jaccard(query, gallery, metric, k1, k2) + weight * matrix
    order_of = np.argsort(matrix, axis=1, kind="stable")
    cmc, aps, inps = [], [], []
    for q, order in enumerate(order_of):
        kept = order[(g_pids[order] != q_pids[q]) | (g_cams[order] != q_cams[q])]
        ranks = np.flatnonzero(g_pids[kept] == q_pids[q]) + 1
        if len(ranks) == 0:
            continue
        aps.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        inps.append(len(ranks) / ranks[-1])
        cmc.append(np.arange(1, MAX_RANK + 1) >= ranks[0])
    return np.mean(cmc, axis=0), np.mean(aps), np.mean(inps), len(aps)


def random_case(rng, queries, gallery, dim, pids, cams, spread, whole_numbers=False):
    centres = rng.standard_normal((pids, dim))

    def draw(count):
        who = rng.integers(0, pids, count)
        features = centres[who] + spread * rng.standard_normal((count, dim))
        if whole_numbers:  # exact arithmetic: distances, and so ties, are the same everywhere
            features = np.round(2 * features)
        return features.astype(np.float32), who.astype(np.int32), rng.integers(0, cams, count).astype(np.int32)

    q, q_pids, q_cams = draw(queries)
    g, g_pids, g_cams = draw(gallery)
    return q, g, q_pids, q_cams, g_pids, g_cams


def run_tool(tool, folder, case, metric, threads, rerank=None):
    path = os.path.join(folder, "case.bin")
    with open(path, "wb") as f:
        for part in case:
            f.write(np.ascontiguousarray(part).tobytes())
    query, gallery = case[0], case[1]
    out = subprocess.run([tool, "evaluate", metric, str(threads), str(len(query)), str(len(gallery)),
                          str(query.shape[1]), path, *map(str, rerank or [])], text=True, capture_output=True, check=True).stdout
    return dict(line.split(" ", 1) for line in out.splitlines() if line[:1] != "|"), out


def main():
    tool = sys.argv[1]
    rng = np.random.default_rng(3)
    cases = {
        "market-like": (random_case(rng, 120, 1500, 256, 60, 6, 2.5), 1e-4),
        "few images": (random_case(rng, 3, 7, 5, 2, 3, 1.0), 1e-9),
        "one of each": (random_case(rng, 40, 61, 1, 4, 2, 1.0), 1e-3),
        "many skipped": (random_case(rng, 200, 100, 33, 300, 2, 0.5), 1e-4),
        "ties": (random_case(rng, 150, 900, 8, 20, 3, 1.0, whole_numbers=True), 1e-9),
        "large identities": (random_case(rng, 30, 2000, 64, 3, 4, 6.0), 1e-4),
    }
    # A single pair that rounding exchanges would show.
    reranked = {
        "re-ranked": (random_case(rng, 60, 500, 64, 40, 6, 1.6), (20, 6, 0.3), 1e-4),
        "odd K1": (random_case(rng, 40, 300, 32, 20, 3, 1.5), (7, 3, 0.5), 1e-4),
        "no expansion": (random_case(rng, 40, 300, 32, 20, 3, 1.5), (10, 1, 0.0), 1e-4),
        "lambda 1": (random_case(rng, 40, 300, 32, 20, 3, 1.5), (10, 4, 1.0), 1e-4),
        "all are near": (random_case(rng, 4, 9, 16, 3, 2, 1.0), (50, 30, 0.3), 1e-9),
    }
    failed = 0
    plain = {name: (case, None, tolerance) for name, (case, tolerance) in cases.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, (case, rerank, tolerance) in {**plain, **reranked}.items():
            for metric in ["cosine", "euclidean"]:
                if name == "ties" and metric == "cosine":
                    continue
                cmc, mean_ap, mean_inp, valid = evaluate(case, metric, rerank)
                first, text = run_tool(tool, folder, case, metric, 1, rerank)
                other, other_text = run_tool(tool, folder, case, metric, 3, rerank)
                ours = np.array([float(first[f"cmc{k + 1}"]) for k in range(int(first["max_rank"]))])
                differences = [np.abs(ours - cmc[: len(ours)]).max(), abs(float(first["map"]) - mean_ap),
                               abs(float(first["minp"]) - mean_inp), abs(int(first["valid"]) - valid)]
                good = max(differences) <= tolerance and text == other_text
                good = good and int(first["skipped"]) == len(case[0]) - valid
                failed += not good
                print(f"{name:18} {metric:10} mAP {mean_ap:.6f} largest difference {max(differences):.1e}"
                      f"{'' if good else '  FAILED'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
