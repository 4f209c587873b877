"""One whole training step against PyTorch: losses, every gradient, every parameter after the update, running statistics and
evaluation features, from the same weights and batch.

The reference runs in float64. Batches stay off the kinks of ReLU
(network.keep_off_kinks), otherwise rounding alone moves gradients by percents in any implementation. For the same reason
Adam's first update, which is lr times the sign of the gradient, is compared where that sign is certain (above the tolerance
of gradients); elsewhere it must be an update of at most lr.
"""
import copy

from common import Comparison, finish, run_tool, torch
import network

LOSS, TOLERANCE = 1e-5, 1e-4
DECAY = 5e-4

BASE = {
    'MODEL.META_ARCHITECTURE': 'Baseline', 'MODEL.HEADS.WITH_BNNECK': True, 'MODEL.HEADS.NECK_FEAT': 'before',
    'MODEL.LOSSES.NAME': ['CrossEntropyLoss', 'TripletLoss'], 'MODEL.LOSSES.CE.EPSILON': 0.1,
    'MODEL.LOSSES.TRI.MARGIN': 0.3, 'MODEL.LOSSES.TRI.HARD_MINING': True, 'SOLVER.BASE_LR': 3.5e-4,
    'SOLVER.WARMUP_ITERS': 2000,
}


def losses_of(config, model, images, labels):
    logits, features = model(images)
    losses = {}
    if 'CrossEntropyLoss' in config['MODEL.LOSSES.NAME']:
        losses['loss_cls'] = network.cross_entropy(logits, labels, config['MODEL.LOSSES.CE.EPSILON'])
    if 'TripletLoss' in config['MODEL.LOSSES.NAME']:
        losses['loss_triplet'] = network.triplet(features, labels, config['MODEL.LOSSES.TRI.MARGIN'], False,
                                                 config['MODEL.LOSSES.TRI.HARD_MINING'])
    return losses, (logits.argmax(1) == labels).float().mean()


def optimizer_of(config, model):
    parameters = [p for p in model.parameters() if p.requires_grad]
    if config.get('SOLVER.OPT') == 'SGD':
        return torch.optim.SGD(parameters, config['SOLVER.BASE_LR'] * 0.1, momentum=0.9, weight_decay=DECAY)
    return torch.optim.Adam(parameters, config['SOLVER.BASE_LR'] * 0.1, weight_decay=DECAY)


def torch_step(config, model, images, labels):
    """Every result by the name our tool gives it."""
    model.train()
    losses, accuracy = losses_of(config, model, images, labels)
    sum(losses.values()).backward()
    result = {f'loss.{k}': v.detach() for k, v in losses.items()}
    result['metric.cls_accuracy'] = accuracy
    for name, p in model.named_parameters():
        result[f'grad.{name}'] = torch.zeros_like(p) if p.grad is None else p.grad.clone()
    optimizer_of(config, model).step()
    result.update((f'param.{k}', v.detach().clone()) for k, v in model.named_parameters())
    result.update((f'buffer.{k}', v.clone()) for k, v in model.named_buffers())
    model.eval()
    with torch.no_grad():
        result['features'] = model(images)
    return result


def check(comparison, ours, expected, before, adam_lr):
    for name, value in expected.items():
        kind, _, rest = name.partition('.')
        if kind == 'param' and adam_lr and f'grad.{rest}' in expected:
            gradient = expected[f'grad.{rest}']
            certain = (gradient + DECAY * before[rest]).abs() > TOLERANCE * gradient.abs().max()
            step = (ours[name].double() - before[rest]).abs().max().item()
            if step > adam_lr * (1 + 1e-3) + 1e-7 * before[rest].abs().max():
                comparison.failures.append(f'{name}: a first update of {step:.3g} with a learning rate of {adam_lr:.3g}')
            ours_certain = torch.where(certain, ours[name].double(), value.double())
            comparison.check(kind, name, ours_certain, value, TOLERANCE)
        else:
            comparison.check(kind, name, ours[name], value, LOSS if kind in ('loss', 'metric') else TOLERANCE)
    if set(ours) != set(expected):
        comparison.failures.append(f'names differ: {sorted(set(ours) ^ set(expected))[:6]}')
    if [n for n in ours if n.startswith('param.')] != [n for n in expected if n.startswith('param.')]:
        comparison.failures.append('parameters are not in the order of named_parameters')


def network_of(config):
    return network.Baseline(
        config['MODEL.BACKBONE.DEPTH'], config['MODEL.BACKBONE.LAST_STRIDE'], classes=13,
        embedding_dim=config.get('MODEL.HEADS.EMBEDDING_DIM', 0), bnneck=config['MODEL.HEADS.WITH_BNNECK'],
        neck_feat=config['MODEL.HEADS.NECK_FEAT'], scale=config.get('MODEL.HEADS.SCALE', 1))


def run(title, depth, size, identities, images_each, runs, seed=1, **changes):
    """`runs`: pairs of a backend and 'direct' (no Winograd), 'auto', or 'torch' (PyTorch's own float32, for scale)."""
    config = {**BASE, 'MODEL.BACKBONE.DEPTH': depth, 'MODEL.BACKBONE.LAST_STRIDE': 1,
              'MODEL.BACKBONE.FEAT_DIM': 512 if depth in ('18x', '34x') else 2048,
              'INPUT.SIZE_TRAIN': list(size), 'INPUT.SIZE_TEST': list(size)}
    config.update((k.replace('__', '.'), v) for k, v in changes.items())
    adam_lr = 0 if config.get('SOLVER.OPT') == 'SGD' else config['SOLVER.BASE_LR'] * 0.1
    images, labels = network.random_batch(identities, images_each, *size, seed)
    exact = network_of(config).double()
    network.random_weights(exact, seed)
    exact.train()
    network.keep_off_kinks(exact, images.double())
    single = copy.deepcopy(exact).float()
    exact = copy.deepcopy(single).double()  # the very weights that float32 has
    # Copies: the steps below change the models.
    tensors = {k: v.clone().float() for k, v in single.state_dict().items()}
    tensors.update(images=images, labels=labels.int())
    before = {k: v.detach().clone() for k, v in exact.named_parameters()}
    expected = torch_step(config, exact, images.double(), labels)

    for backend, convolution in runs:
        comparison = Comparison(f'{title} [{backend}, {convolution}]')
        if backend == 'torch':
            ours = torch_step(config, single, images, labels)
        else:
            ours = run_tool('step', {**config, 'MODEL.BACKEND': backend}, tensors, (convolution,))
        check(comparison, ours, expected, before, adam_lr)
        yield comparison


if __name__ == '__main__':
    REF, DIRECT, WINOGRAD, PYTORCH = ('ref', 'direct'), ('cpu', 'direct'), ('cpu', 'auto'), ('torch', 'float32')
    finish([
        *run('ResNet-18x', '18x', (32, 16), 2, 4, (REF, DIRECT, PYTORCH)),
        *run('ResNet-50x', '50x', (32, 16), 2, 4, (REF, DIRECT)),
        # Large enough for oneDNN to take Winograd kernels.
        *run('ResNet-18x, batch 16 of 64x32', '18x', (64, 32), 4, 4, (WINOGRAD,)),
        *run('ResNet-18x, last stride 2, neck feature, SGD', '18x', (65, 31), 2, 4, (DIRECT,), MODEL__BACKBONE__LAST_STRIDE=2,
             MODEL__HEADS__NECK_FEAT='after', SOLVER__OPT='SGD', MODEL__HEADS__SCALE=4),
        *run('ResNet-18x, embedding', '18x', (64, 32), 2, 4, (DIRECT,), MODEL__HEADS__EMBEDDING_DIM=96),
    ])
