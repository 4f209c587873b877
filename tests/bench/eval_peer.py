#!/usr/bin/python3
"""Evaluates the features of a file (eval.c) the way fast-reid does: distances of everything by torch, a full argsort,
then its compiled loop over the queries. Cython itself is not needed: eval_peer_rank.c is that loop in C.

Prints one JSON line. --exact: ranks with distances in double precision instead, as an arbiter, untimed."""
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
for name, value in [('runs', 1), ('threads', 2)]:
    parser.add_argument('--' + name, type=int, default=value)
parser.add_argument('--exact', action='store_true')
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


def distances(query, gallery):
    if args.metric == 'cosine':
        return 1 - torch.mm(F.normalize(query, p=2, dim=1), F.normalize(gallery, p=2, dim=1).t())
    m, n = query.size(0), gallery.size(0)
    squares = (torch.pow(query, 2).sum(dim=1, keepdim=True).expand(m, n)
               + torch.pow(gallery, 2).sum(dim=1, keepdim=True).expand(n, m).t())
    return squares.addmm_(query, gallery.t(), beta=1, alpha=-2)


def evaluate(query, gallery, q_pids, g_pids, q_cams, g_cams, loop, max_rank=50):
    matrix = distances(query, gallery).numpy()
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
    return {'mAP': ap.sum(dtype=np.float64) / valid, 'mINP': inp.sum(dtype=np.float64) / valid,
            'cmc': (cmc.sum(axis=0, dtype=np.float64) / valid).tolist()}


with open(args.data, 'rb') as file:
    queries, gallery, dim = np.fromfile(file, np.int32, 3)
    pids = np.fromfile(file, np.int32, queries + gallery).astype(np.int64)
    cams = np.fromfile(file, np.int32, queries + gallery).astype(np.int64)
    features = torch.from_numpy(np.fromfile(file, np.float32, (queries + gallery) * dim).reshape(-1, dim))
if args.exact:
    features = features.double()
loop = compiled_loop()
labels = [np.ascontiguousarray(a) for a in (pids[:queries], pids[queries:], cams[:queries], cams[queries:])]
before, seconds, cpu = resident('VmRSS:'), [], time.process_time()
for _ in range(args.runs):
    start = time.perf_counter()
    result = evaluate(features[:queries], features[queries:], *labels, loop)
    seconds.append(round(time.perf_counter() - start, 4))
print(json.dumps({'seconds': seconds, 'cpu_seconds': round((time.process_time() - cpu) / args.runs, 4),
                  'beyond_mib': round(resident('VmHWM:') - before, 1), **result}))
