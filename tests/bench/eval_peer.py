#!/usr/bin/python3
"""Evaluates the features of a file (eval.c) the way fast-reid does: distances of everything, a full argsort, then its
compiled loop over the queries. Cython itself is not needed: eval_peer_rank.c is that loop in C. The product of the features
goes to oneDNN's sgemm, since the BLAS that torch.mm calls may be the reference one, 20 times slower.

Prints one JSON line; `double` in it are the figures of the same ranking summed in double precision, untimed."""
import argparse
import ctypes
import json
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument('--data', required=True)
parser.add_argument('--metric', default='cosine')
for name, value in [('runs', 1), ('threads', 2), ('rerank', 0)]:
    parser.add_argument('--' + name, type=int, default=value)
args = parser.parse_args()
torch.set_num_threads(args.threads)


def resident(field):
    for line in open('/proc/self/status'):
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0


def compiled_loop():
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder) / 'loop.so'
        subprocess.run(['cc', '-O3', '-march=native', '-shared', '-fPIC', '-o', library,
                        pathlib.Path(__file__).with_name('eval_peer_rank.c')], check=True)
        function = ctypes.CDLL(str(library)).rank_loop
    function.restype = ctypes.c_int64
    return function


def multiply(a, b):
    """a · bᵀ"""
    (m, k), n = a.shape, b.shape[0]
    product, size = torch.empty(m, n), ctypes.c_int64
    ctypes.CDLL('libdnnl.so.2').dnnl_sgemm(
        ctypes.c_char(b'N'), ctypes.c_char(b'T'), size(m), size(n), size(k), ctypes.c_float(1), ctypes.c_void_p(a.data_ptr()),
        size(k), ctypes.c_void_p(b.data_ptr()), size(k), ctypes.c_float(0), ctypes.c_void_p(product.data_ptr()), size(n))
    return product


def distances(query, gallery):
    if args.metric == 'cosine':
        return 1 - multiply(F.normalize(query, p=2, dim=1), F.normalize(gallery, p=2, dim=1))
    m, n = query.size(0), gallery.size(0)
    squares = (torch.pow(query, 2).sum(dim=1, keepdim=True).expand(m, n)
               + torch.pow(gallery, 2).sum(dim=1, keepdim=True).expand(n, m).t())
    return squares.sub_(multiply(query, gallery), alpha=2)


def reciprocal(rank, i, k):
    near = rank[i, :k + 1]
    return near[np.where(rank[near, :k + 1] == i)[0]]


def jaccard(query, gallery, k1=20, k2=6):
    """fast-reid's steps, one image after the other over dense matrices; its search by faiss is one product and a top-k."""
    features = torch.cat([query, gallery])
    if args.metric == 'cosine':
        features = F.normalize(features, p=2, dim=1)
    count, queries = len(features), len(query)
    squares = torch.pow(features, 2).sum(dim=1)
    everything = (squares[:, None] + squares[None]).sub_(multiply(features, features), alpha=2)
    rank = torch.topk(everything, k1, dim=1, largest=False).indices.numpy()
    near = [reciprocal(rank, i, k1) for i in range(count)]
    near_half = [reciprocal(rank, i, int(np.around(k1 / 2))) for i in range(count)]
    v = np.zeros((count, count), np.float32)
    for i in range(count):
        members = near[i]
        for candidate in near[i]:
            its = near_half[candidate]
            if len(np.intersect1d(its, near[i])) > 2 / 3 * len(its):
                members = np.append(members, its)
        members = np.unique(members)
        x, y = features[i].unsqueeze(0), features[members]
        distance = torch.pow(x, 2).sum(dim=1, keepdim=True) + torch.pow(y, 2).sum(dim=1, keepdim=True).t()
        distance.sub_((x * y).sum(dim=1), alpha=2)
        v[i, members] = F.softmax(-distance, dim=1).view(-1).numpy()
    averaged = np.zeros_like(v)
    for i in range(count):
        averaged[i] = np.mean(v[rank[i, :k2]], axis=0)
    v = averaged
    with_column = [np.where(v[:, j] != 0)[0] for j in range(count)]
    result = np.zeros((queries, count - queries), np.float32)
    for i in range(queries):
        shared = np.zeros((1, count), np.float32)
        for j in np.where(v[i] != 0)[0]:
            rows = with_column[j]
            shared[0, rows] = shared[0, rows] + np.minimum(v[i, j], v[rows, j])
        result[i] = (1 - shared / (2 - shared))[:, queries:]
    result[result < 0] = 0
    return result


def evaluate(query, gallery, q_pids, g_pids, q_cams, g_cams, loop, max_rank=50):
    matrix = distances(query, gallery).numpy()
    if args.rerank:
        matrix = jaccard(query, gallery) * (1 - 0.3) + matrix * 0.3
    indices = np.argsort(matrix, axis=1)
    matches = (g_pids[indices] == q_pids[:, np.newaxis]).astype(np.int64)
    queries, images = matrix.shape
    scratch, order = np.zeros((3, images), np.float32), np.zeros(images, np.int64)
    cmc = np.zeros((queries, max_rank), np.float32)
    ap, inp = np.zeros(queries, np.float32), np.zeros(queries, np.float32)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (q_pids, g_pids, q_cams, g_cams)]
    valid = loop(ctypes.c_void_p(indices.ctypes.data), ctypes.c_void_p(matches.ctypes.data), ctypes.c_int64(queries),
                 ctypes.c_int64(images), *pointers, ctypes.c_int64(max_rank),
                 *[ctypes.c_void_p(a.ctypes.data) for a in (scratch, order, cmc, ap, inp)])
    return indices, {'mAP': ap.sum(dtype=np.float64) / valid, 'mINP': inp.sum(dtype=np.float64) / valid,
            'cmc': (cmc.sum(axis=0, dtype=np.float64) / valid).tolist()}


def in_double(indices, q_pids, g_pids, q_cams, g_cams, max_rank=50):
    aps, inps, cmc = [], [], np.zeros(max_rank)
    for q, order in enumerate(indices):
        kept = order[(g_pids[order] != q_pids[q]) | (g_cams[order] != q_cams[q])]
        ranks = np.nonzero(g_pids[kept] == q_pids[q])[0] + 1
        if len(ranks) == 0:
            continue
        aps.append((np.arange(1, len(ranks) + 1) / ranks).mean())
        inps.append(len(ranks) / ranks[-1])
        cmc[ranks[0] - 1:] += 1
    return {'mAP': np.mean(aps), 'mINP': np.mean(inps), 'cmc': (cmc / len(aps)).tolist()}


with open(args.data, 'rb') as file:
    queries, gallery, dim = np.fromfile(file, np.int32, 3)
    pids = np.fromfile(file, np.int32, queries + gallery).astype(np.int64)
    cams = np.fromfile(file, np.int32, queries + gallery).astype(np.int64)
    features = torch.from_numpy(np.fromfile(file, np.float32, (queries + gallery) * dim).reshape(-1, dim))
loop = compiled_loop()
labels = [np.ascontiguousarray(a) for a in (pids[:queries], pids[queries:], cams[:queries], cams[queries:])]
before, seconds, cpu = resident('VmRSS:'), [], time.process_time()
for _ in range(args.runs):
    start = time.perf_counter()
    indices, result = evaluate(features[:queries], features[queries:], *labels, loop)
    seconds.append(round(time.perf_counter() - start, 4))
cpu, beyond = (time.process_time() - cpu) / args.runs, resident('VmHWM:') - before
print(json.dumps({'seconds': seconds, 'cpu_seconds': round(cpu, 4), 'beyond_mib': round(beyond, 1), **result,
                  'double': in_double(indices, *labels)}))
