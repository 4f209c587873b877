#!/usr/bin/python3
"""Ranking by the Market-1501 protocol against a plain numpy version of it.

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


def evaluate(case, metric):
    """CMC, mAP, mINP, valid queries, straight from their definitions."""
    query, gallery, q_pids, q_cams, g_pids, g_cams = case
    order_of = np.argsort(distances(query, gallery, metric), axis=1, kind="stable")
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


def run_tool(tool, folder, case, metric, threads):
    path = os.path.join(folder, "case.bin")
    with open(path, "wb") as f:
        for part in case:
            f.write(np.ascontiguousarray(part).tobytes())
    query, gallery = case[0], case[1]
    out = subprocess.run([tool, "evaluate", metric, str(threads), str(len(query)), str(len(gallery)),
                          str(query.shape[1]), path], text=True, capture_output=True, check=True).stdout
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
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (case, tolerance) in cases.items():
            for metric in ["cosine", "euclidean"]:
                if name == "ties" and metric == "cosine":
                    continue
                cmc, mean_ap, mean_inp, valid = evaluate(case, metric)
                first, text = run_tool(tool, folder, case, metric, 1)
                other, other_text = run_tool(tool, folder, case, metric, 3)
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
