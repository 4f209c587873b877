#!/usr/bin/env python3
"""Plans data-parallel training on machines that are not here: roofline per call, buckets, all-reduce, overlap.

    simulate.py OPERATIONS.json --device devices/h100-sxm.json --nodes 16 --ranks-per-node 8 --link-gbit 400 [--sweep]

OPERATIONS.json comes from bench_operations. README.md has the formulas, their sources and what they leave out.
"""
import argparse
import json
import math
import pathlib
import sys
from dataclasses import dataclass, field

MIB = 1 << 20
BYTES = {'f32': 4, 'tf32': 4, 'bf16': 2, 'fp16': 2}
ALGORITHMS = ('auto', 'ring', 'tree', 'two-level', 'direct')
SWEEP_MB = (1, 2, 4, 8, 16, 25, 50, 100, 1000)


def load(path):
    return json.loads(pathlib.Path(path).read_text())


# ---- compute: one roofline per pass ----

def part_seconds(part, kind, operations, device, dtype, batch):
    """The longer of arithmetic and memory traffic (Williams, Waterman, Patterson 2009). Activations scale with the
    batch and the type; parameters with neither; the FLOPs of every call with the batch."""
    scale = batch / operations['batch']
    activations = (part['activation_read'] + part['activation_written']) * scale
    activations *= BYTES[dtype] / BYTES[operations['compute']]
    traffic = activations + part['other_read'] + part['other_written']
    efficiency = device['efficiency']
    if kind == 'conv2d':
        rate = device['peak_flops'][dtype] * efficiency['matrix']
    elif kind == 'linear':  # rows are float32 in every plan
        rate = device['peak_flops']['f32'] * efficiency['matrix']
    else:
        rate = device['vector_flops']
    return max(part['flops'] * scale / rate, traffic / (device['memory_bytes_per_s'] * efficiency['memory']))


def call_seconds(call, operations, device, dtype, batch):
    return sum(part_seconds(part, call['kind'], operations, device, dtype, batch) + device['call_overhead_s']
               for part in call['parts'])


@dataclass
class Compute:
    """Seconds of a step on one rank, without communication."""
    forward: float
    backward: list  # (seconds, floats of gradients that are final after it)
    update: float

    def total(self):
        return self.forward + sum(s for s, _ in self.backward) + self.update


def roofline(operations, device, dtype=None, batch=None):
    dtype, batch = dtype or operations['compute'], batch or operations['batch']
    if dtype not in device['peak_flops']:
        sys.exit(f"{device['name']} has no peak for {dtype}; it knows {', '.join(device['peak_flops'])}")
    update = {'parts': [{'flops': 0, 'activation_read': 0, 'activation_written': 0, **operations['optimizer']}],
              'kind': 'optimizer'}
    return Compute(
        forward=sum(call_seconds(c, operations, device, dtype, batch) for c in operations['forward']),
        backward=[(call_seconds(c, operations, device, dtype, batch), c['ready_end'])
                  for c in operations['backward']],
        update=call_seconds(update, operations, device, dtype, batch))


def measured(operations):
    """From the seconds that bench_operations --steps measured, stretched to the median step of the slowest rank."""
    if 'measured' not in operations:
        sys.exit('these operations were not measured; run bench_operations with --steps')
    compute = Compute(forward=sum(c['seconds'] for c in operations['forward']),
                      backward=[(c['seconds'], c['ready_end']) for c in operations['backward']],
                      update=operations['optimizer']['seconds'])
    plain = sorted(operations['measured']['plain_s'])
    stretch = plain[len(plain) // 2] / compute.total()
    return Compute(compute.forward * stretch, [(s * stretch, r) for s, r in compute.backward], compute.update * stretch)


# ---- buckets: as src/comm/reducer.c cuts them ----

def cut_buckets(operations, first_bytes, bucket_bytes):
    """Ends of the buckets in floats: parameters are added until the size is reached."""
    total, ends, start = operations['gradient_floats'], [], 0
    offsets = [p['offset'] for p in operations['parameters']]
    for following in offsets[1:] + [total]:
        limit = bucket_bytes if ends else first_bytes
        if (following - start) * 4 >= limit or following == total:
            ends.append(following)
            start = following
    return ends


# ---- all-reduce: latency-bandwidth models ----

@dataclass
class Cluster:
    nodes: int = 1
    ranks_per_node: int = 1
    link_bytes_per_s: float = math.inf  # of a rank inside its node, one direction
    node_bytes_per_s: float = math.inf  # of a node's network, one direction, all its ports together
    link_latency_s: float = 0.0
    network_latency_s: float = 0.0
    tree_link_latency_s: float = 0.0
    tree_network_latency_s: float = 0.0
    base_s: float = 0.0  # of starting a collective

    @property
    def ranks(self):
        return self.nodes * self.ranks_per_node


def cluster_of(device, nodes, ranks_per_node, link_gbit):
    link, network = device['link'], device['network']
    return Cluster(nodes=nodes, ranks_per_node=ranks_per_node, link_bytes_per_s=link['bytes_per_s'],
                   node_bytes_per_s=link_gbit * 1e9 / 8 * network['efficiency'] if nodes > 1 else math.inf,
                   link_latency_s=link['latency_s'], network_latency_s=network['latency_s'],
                   tree_link_latency_s=link['tree_latency_s'], tree_network_latency_s=network['tree_latency_s'],
                   base_s=link['base_s'])


def slowest_link(c):
    """What a flat ring or tree runs at: each of its bytes crosses a node's network once in each direction."""
    return min(c.link_bytes_per_s if c.ranks_per_node > 1 else math.inf, c.node_bytes_per_s)


def ring(c, size):
    """2(n-1) steps of size/n (Patarasuk and Yuan 2009); 2(m-1) of them wait for the network (NCCL, tuning.cc)."""
    n, m = c.ranks, c.nodes
    latency = 2 * (n - m) * c.link_latency_s + 2 * (m - 1) * c.network_latency_s
    return c.base_s + latency + 2 * (n - 1) / n * size / slowest_link(c)


def tree(c, size):
    """Double binary tree over the nodes (Sanders, Speck, Träff 2009), a chain inside each, up and down, pipelined:
    every node sends and receives the data twice. 0.9: NCCL's own correction (tuning.cc). In one node: the ring."""
    if c.nodes == 1:
        return ring(c, size)
    latency = 2 * ((c.ranks_per_node - 1) * c.tree_link_latency_s
                   + math.ceil(math.log2(c.nodes)) * c.tree_network_latency_s)
    return c.base_s + latency + 2 * size / (0.9 * slowest_link(c))


def two_level(c, size):
    """Reduce-scatter in the node, ring all-reduce of the shares between nodes on all ports at once, all-gather in the
    node; one after the other, nothing pipelined."""
    n, m = c.ranks_per_node, c.nodes
    inside = 2 * (n - 1) * c.link_latency_s + (2 * (n - 1) / n * size / c.link_bytes_per_s if n > 1 else 0.0)
    between = 2 * (m - 1) * c.network_latency_s + 2 * (m - 1) / m * size / c.node_bytes_per_s
    return c.base_s + inside + between


def direct(c, size):
    """src/comm/mpi.c: everybody sends everybody its part, then the sums; as many bytes as a ring, two latencies."""
    n = c.ranks
    latency = c.network_latency_s if c.nodes > 1 else c.link_latency_s
    return c.base_s + 2 * latency + 2 * (n - 1) / n * size / slowest_link(c)


def all_reduce_seconds(c, size, algorithm='auto'):
    if c.ranks == 1:
        return 0.0
    if algorithm == 'auto':  # as NCCL's tuner: the fastest of what it has
        return min(ring(c, size), tree(c, size))
    return {'ring': ring, 'tree': tree, 'two-level': two_level, 'direct': direct}[algorithm](c, size)


# ---- the step: backward and the communication stream ----

@dataclass
class Step:
    seconds: float
    exposed: float  # the update waits this long for the last bucket
    communication: float  # sum over the buckets
    alone: float  # the same step on one rank
    buckets: list = field(default_factory=list)  # (bytes, ready, start, end), seconds from the start of backward

    def efficiency(self):
        return self.alone / self.seconds


def overlap(compute, buckets, slowdown):
    """buckets: (end in floats, bytes, seconds of all-reduce), sent in order, one at a time. While one is under way
    backward runs at 1 - slowdown of its speed. Returns end of backward, end of communication, times of the buckets."""
    now = busy_until = 0.0
    pending, times = list(buckets), []
    for position, (seconds, ready_end) in enumerate(compute.backward):
        in_the_shade = max(0.0, busy_until - now) * (1 - slowdown)  # work done before the stream falls idle
        if seconds <= in_the_shade:
            now += seconds / (1 - slowdown)
        else:
            now = max(now, busy_until) + seconds - in_the_shade
        last = position + 1 == len(compute.backward)  # what no call writes is sent at the end
        while pending and (last or pending[0][0] <= ready_end):
            _, size, cost = pending.pop(0)
            start = max(now, busy_until)
            busy_until = start + cost
            times.append((size, now, start, busy_until))
    return now, busy_until, times


def simulate(operations, compute, cluster, first_mb=1, bucket_mb=25, algorithm='auto', compress=False, slowdown=0.0,
             cast_bytes_per_s=math.inf, costs=None):
    """Compression sends 2 bytes for 4; casting there and back moves 12 bytes per gradient through memory. `costs`:
    seconds of each bucket's all-reduce, in place of the model's."""
    ends = cut_buckets(operations, first_mb * MIB, bucket_mb * MIB)
    buckets, start = [], 0
    for end in ends:
        size = (end - start) * 4
        cost = costs[len(buckets)] if costs else all_reduce_seconds(cluster, size / 2 if compress else size, algorithm)
        if compress and cluster.ranks > 1:
            cost += (end - start) * 12 / cast_bytes_per_s
        buckets.append((end, size, cost))
        start = end
    if cluster.ranks == 1:
        buckets = []
    backward_end, communication_end, times = overlap(compute, buckets, slowdown)
    seconds = compute.forward + max(backward_end, communication_end) + compute.update
    return Step(seconds=seconds, exposed=max(0.0, communication_end - backward_end),
                communication=sum(cost for _, _, cost in buckets), alone=compute.total(), buckets=times)


def best_bucket(simulate_with, sizes=SWEEP_MB):
    """simulate_with(MiB) → Step; the fastest, the larger of equals."""
    return min(((simulate_with(mb), mb) for mb in sizes), key=lambda pair: (pair[0].seconds, -pair[1]))


# ---- printing ----

def row(label, step, batch, ranks):
    return (f'{label:26}{step.seconds * 1e3:10.2f}{step.exposed * 1e3:10.2f}{step.communication * 1e3:10.2f}'
            f'{step.efficiency() * 100:8.1f} %{batch * ranks / step.seconds:12.0f}')


def by_kind(operations, device, dtype, batch):
    sums = {}
    for name in ('forward', 'backward'):
        for call in operations[name]:
            entry = sums.setdefault((call['kind'], name), [0.0, 0.0])
            entry[0] += call_seconds(call, operations, device, dtype, batch)
            entry[1] += call.get('seconds', 0.0)
    return sums


def print_calls(operations, device, dtype, batch):
    print(f'{"kind":22}{"pass":10}{"roofline ms":>12}{"measured ms":>12}')
    for (kind, name), (modelled, seconds) in sorted(by_kind(operations, device, dtype, batch).items()):
        print(f'{kind:22}{name:10}{modelled * 1e3:12.2f}' + (f'{seconds * 1e3:12.2f}' if seconds else f'{"-":>12}'))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('operations')
    parser.add_argument('--device', required=True)
    parser.add_argument('--nodes', type=int, default=1)
    parser.add_argument('--ranks-per-node', type=int, default=8)
    parser.add_argument('--link-gbit', type=float, default=400, help="one direction of a node's network, all ports")
    parser.add_argument('--dtype', choices=sorted(BYTES), help='of the convolutions; default: that of the operations')
    parser.add_argument('--batch', type=int, help='of one rank; default: that of the operations')
    parser.add_argument('--algorithm', choices=ALGORITHMS, default='auto', help='auto: the faster of ring and tree')
    parser.add_argument('--compress', action='store_true', help='gradients travel in two bytes')
    parser.add_argument('--bucket-mb', type=float, default=25)
    parser.add_argument('--first-bucket-mb', type=float, default=1)
    parser.add_argument('--sweep', action='store_true', help='the bucket sizes, with and without compression')
    parser.add_argument('--calls', action='store_true', help='the roofline by kind of operation')
    parser.add_argument('--measured', action='store_true', help='the measured seconds of the calls, not the roofline')
    parser.add_argument('--json', action='store_true', help='one line for programs')
    args = parser.parse_args()
    if min(args.nodes, args.ranks_per_node, args.link_gbit, args.bucket_mb, args.first_bucket_mb) <= 0:
        parser.error('nodes, ranks, link speed and bucket sizes are above 0')
    if args.batch is not None and args.batch < 1:
        parser.error('--batch is at least 1')
    return args


def main():
    args = parse_arguments()
    operations, device = load(args.operations), load(args.device)
    dtype, batch = args.dtype or operations['compute'], args.batch or operations['batch']
    if args.calls:
        print_calls(operations, device, dtype, batch)
    compute = measured(operations) if args.measured else roofline(operations, device, dtype, batch)
    cluster = cluster_of(device, args.nodes, args.ranks_per_node, args.link_gbit)

    def step(bucket_mb, compress):
        return simulate(operations, compute, cluster, min(args.first_bucket_mb, bucket_mb), bucket_mb, args.algorithm,
                        compress, device['overlap_slowdown'],
                        device['memory_bytes_per_s'] * device['efficiency']['memory'])

    one = step(args.bucket_mb, args.compress)
    if args.json:
        print(json.dumps({'step_s': one.seconds, 'exposed_s': one.exposed, 'communication_s': one.communication,
                          'alone_s': one.alone, 'efficiency': one.efficiency(), 'buckets': one.buckets}))
        return
    print(f"{device['name']}: {args.nodes} x {args.ranks_per_node}, {dtype}, batch {batch} a rank, "
          f'{args.algorithm}; one rank alone {one.alone * 1e3:.2f} ms, {batch / one.alone:.0f} images/s')
    print(f'{"":26}{"step ms":>10}{"exposed":>10}{"all-reduce":>10}{"efficiency":>10}{"images/s":>12}')
    if not args.sweep:
        print(row(f'{args.bucket_mb:g} MiB' + (', compressed' if args.compress else ''), one, batch, cluster.ranks))
        return
    for compress in (False, True):
        text = ', compressed' if compress else ''
        for mb in SWEEP_MB:
            print(row(f'{mb} MiB{text}', step(mb, compress), batch, cluster.ranks))
        found, mb = best_bucket(lambda size: step(size, compress))
        print(row(f'best: {mb} MiB{text}', found, batch, cluster.ranks))


if __name__ == '__main__':
    main()
