"""Data-parallel training of two ranks against two replicas in PyTorch, after Li et al., "PyTorch Distributed", VLDB 2020: each
replica has its own batch and its own running statistics, gradients are averaged over the replicas, and one Adam updates both.

Compared as in parity_step: the reference runs in float64, the first step stays off the kinks of ReLU for both batches, and a
parameter is compared where the sign of its gradient is certain in every step; elsewhere it must have moved by at most the
learning rate in each. Gradients of later steps, which may meet a kink, are compared only through the parameters and losses.

Where mathematics says so, to the bit: both ranks hold the same parameters, and two ranks with the same batch compute what one
rank computes, since the average of two equal numbers is that number.
"""
import copy
import functools
import json
import os
import subprocess
import sys
import tempfile

from common import Comparison, finish, load_tensors, nested, program, save_tensors, torch
import network
from parity_step import BASE, DECAY, LOSS, TOLERANCE, losses_of, network_of, optimizer_of

STEPS, RANKS, SIZE = 3, 2, (32, 16)
CONFIG = {**BASE, 'MODEL.BACKEND': 'cpu', 'MODEL.BACKBONE.DEPTH': '18x', 'MODEL.BACKBONE.LAST_STRIDE': 1,
          'MODEL.BACKBONE.FEAT_DIM': 512, 'INPUT.SIZE_TRAIN': list(SIZE), 'INPUT.SIZE_TEST': list(SIZE)}
LR = CONFIG['SOLVER.BASE_LR'] * 0.1
MPIRUN = ['mpirun', '--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '--mca', 'btl', 'self,vader']


def run_ranks(weights, batches):
    """The tool's output of each rank; one batch is a run without a launcher."""
    with tempfile.TemporaryDirectory(prefix='reid-parity-') as folder:
        with open(os.path.join(folder, 'config.yaml'), 'w') as file:
            json.dump(nested(CONFIG), file)
        for rank, (images, labels) in enumerate(batches):
            os.mkdir(os.path.join(folder, str(rank)))
            tensors = {**weights, 'images': images, 'labels': labels.int()}
            save_tensors(os.path.join(folder, str(rank), 'input.safetensors'), tensors)
        launcher = [*MPIRUN, '-np', str(len(batches))] if len(batches) > 1 else []
        line = [*launcher, program('parity_tool'), 'ddp', folder, str(STEPS)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f'{" ".join(line)} gave {done.returncode}: {done.stderr}')
        return [load_tensors(os.path.join(folder, str(rank), 'output.safetensors')) for rank in range(len(batches))]


def weights_off_kinks(batches):
    """A network in float32 whose first step has no value near a kink, on any of the batches."""
    def by_batch(norm, x):
        """Every replica normalizes its own batch."""
        return torch.cat([torch.nn.BatchNorm2d.forward(norm, part) for part in x.chunk(len(batches))])

    model = network_of(CONFIG).double()
    network.random_weights(model, 1)
    moved = copy.deepcopy(model).train()
    for module in moved.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.forward = functools.partial(by_batch, module)
    network.keep_off_kinks(moved, torch.cat([images for images, _ in batches]).double())
    model.load_state_dict(moved.state_dict())
    return model.float()


def torch_ranks(single, batches):
    """What the tool gives, by rank, and where the signs of all gradients were certain."""
    replicas = [copy.deepcopy(single).double().train() for _ in batches]
    results = [{} for _ in batches]
    parameters = [dict(r.named_parameters()) for r in replicas]
    certain = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters[0].items()}
    optimizer = optimizer_of(CONFIG, replicas[0])
    for step in range(STEPS):
        for replica, result, (images, labels) in zip(replicas, results, batches):
            replica.zero_grad(set_to_none=True)
            losses, accuracy = losses_of(CONFIG, replica, images.double(), labels)
            sum(losses.values()).backward()
            result.update((f'loss.{step}.{k}', v.detach()) for k, v in losses.items())
            result[f'metric.{step}.cls_accuracy'] = accuracy
        for name, p in parameters[0].items():
            mean = torch.zeros_like(p)
            if p.requires_grad:
                mean = sum(own[name].grad for own in parameters) / len(batches)
                p.grad = mean
                certain[name] &= (mean + DECAY * p.detach()).abs() > TOLERANCE * mean.abs().max()
            if step == 0:
                for result in results:
                    result[f'grad.{name}'] = mean
        optimizer.step()
        with torch.no_grad():
            for own in parameters[1:]:
                for name, p in own.items():
                    p.copy_(parameters[0][name])
    for replica, result in zip(replicas, results):
        result.update((f'param.{k}', v.detach()) for k, v in replica.named_parameters())
        result.update((f'buffer.{k}', v) for k, v in replica.named_buffers())
    return results, certain


def check(comparison, ours, expected, before, certain):
    for name, value in expected.items():
        kind, _, rest = name.partition('.')
        got = ours[name].double()
        if kind == 'param':
            moved = (got - before[rest]).abs().max().item()
            if moved > STEPS * LR * 1.01 + 1e-7 * before[rest].abs().max():
                comparison.failures.append(f'{name}: moved by {moved:.3g} in {STEPS} steps of {LR:.3g}')
            got = torch.where(certain[rest], got, value.double())
        comparison.check(kind, name, got, value, LOSS if kind in ('loss', 'metric') else TOLERANCE)
    if set(ours) != {*expected, 'buckets'}:
        comparison.failures.append(f'names differ: {sorted(set(ours) ^ set(expected))[:6]}')


def same_bits(comparison, kind, ours, other, prefixes):
    for name in ours:
        if name.startswith(prefixes) and not torch.equal(ours[name].flatten().view(torch.uint8),
                                                         other[name].flatten().view(torch.uint8)):
            comparison.failures.append(f'{kind}: {name} differs in some bit')


def own_batches(single, batches):
    ours = run_ranks({k: v.clone().float() for k, v in single.state_dict().items()}, batches)
    expected, certain = torch_ranks(single, batches)
    before = {k: v.detach().double() for k, v in single.named_parameters()}
    both = Comparison('two ranks')
    same_bits(both, 'the ranks', ours[0], ours[1], ('param.', 'grad.'))
    if ours[0]['buckets'] < 4:
        both.failures.append(f'only {ours[0]["buckets"]:.0f} buckets')
    share = sum(int(c.sum()) for c in certain.values()) / sum(c.numel() for c in certain.values())
    print(f'{ours[0]["buckets"]:.0f} buckets; {100 * share:.1f} % of the parameters had certain signs in all steps')
    if share < 0.5:
        both.failures.append(f'only {100 * share:.1f} % of the parameters are compared closely')
    yield both
    for rank in range(RANKS):
        comparison = Comparison(f'rank {rank} of {RANKS}')
        check(comparison, ours[rank], expected[rank], before, certain)
        yield comparison


def same_batch(single, batch):
    weights = {k: v.clone().float() for k, v in single.state_dict().items()}
    alone, = run_ranks(weights, [batch])
    comparison = Comparison('the same batch')
    for rank, ours in enumerate(run_ranks(weights, [batch] * RANKS)):
        same_bits(comparison, f'rank {rank} and a rank alone', ours, alone,
                  ('loss.', 'metric.', 'grad.', 'param.', 'buffer.'))
    print(f'the same batch: {len(alone) - 1} tensors of each rank, to the bit, against those of a rank alone')
    return comparison


if os.environ.get('REID_HAVE_MPI', '1') != '1':
    print('SKIP: a build without MPI')
    sys.exit(77)
own = [network.random_batch(2, 4, *SIZE, seed) for seed in (1, 2)]
own[1] = (own[1][0], own[1][1] + 2)  # other identities
start = weights_off_kinks(own)
finish([*own_batches(start, own), same_batch(start, own[0])])
