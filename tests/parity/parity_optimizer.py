"""Updates by given gradients against torch.optim, with fast-reid's parameter groups, clipping and schedule, in both backends."""
from common import Comparison, finish, run_tool, torch

STEPS, ITERS_PER_EPOCH = 5, 2
PARAM, STATE = 1e-6, 2e-6

# Of parity_tool's small network, in the order of named_parameters: a module's own before its children's.
SHAPES = {
    'backbone.conv1.weight': (5, 3, 3, 3), 'backbone.conv1.bias': (5,),
    'backbone.bn1.weight': (5,), 'backbone.bn1.bias': (5,),
    'heads.weight': (7, 5),
    'heads.bottleneck.0.weight': (5,), 'heads.bottleneck.0.bias': (5,),
}
FROZEN = 'heads.bottleneck.0.bias'
NORMS = ('backbone.bn1', 'heads.bottleneck.0')

DEFAULTS = {
    'OPT': 'Adam', 'BASE_LR': 3.5e-3, 'WEIGHT_DECAY': 5e-4, 'WEIGHT_DECAY_NORM': 5e-4, 'WEIGHT_DECAY_BIAS': 5e-4,
    'BIAS_LR_FACTOR': 1.0, 'HEADS_LR_FACTOR': 1.0, 'MOMENTUM': 0.9, 'NESTEROV': False, 'WARMUP_ITERS': 2,
    'WARMUP_FACTOR': 0.1, 'STEPS': [1], 'GAMMA': 0.1, 'MAX_EPOCH': 3, 'CLIP_GRADIENTS.ENABLED': False,
    'CLIP_GRADIENTS.CLIP_TYPE': 'norm', 'CLIP_GRADIENTS.CLIP_VALUE': 5.0, 'CLIP_GRADIENTS.NORM_TYPE': 2.0,
}
SPLIT = {'WEIGHT_DECAY_NORM': 0.01, 'WEIGHT_DECAY_BIAS': 0.0, 'BIAS_LR_FACTOR': 2.0, 'HEADS_LR_FACTOR': 0.5}
CLIP = {'CLIP_GRADIENTS.ENABLED': True}

CASES = {
    'Adam, one group': {},
    'Adam, all rules': SPLIT,
    'Adam, no decay': {'WEIGHT_DECAY': 0.0, 'WEIGHT_DECAY_NORM': 0.0, 'WEIGHT_DECAY_BIAS': 0.0},
    'AdamW': {'OPT': 'AdamW', **SPLIT},
    'SGD': {'OPT': 'SGD', 'BASE_LR': 0.05},
    'SGD, no momentum': {'OPT': 'SGD', 'BASE_LR': 0.05, 'MOMENTUM': 0.0},
    'SGD, Nesterov, all rules': {'OPT': 'SGD', 'BASE_LR': 0.05, 'NESTEROV': True, **SPLIT},
    'clip by the norm of a group': {**CLIP, **SPLIT, 'OPT': 'SGD', 'BASE_LR': 0.05, 'CLIP_GRADIENTS.CLIP_VALUE': 0.7},
    'clip by a norm that is not reached': {**CLIP, 'OPT': 'SGD', 'CLIP_GRADIENTS.CLIP_VALUE': 1e4},
    'clip by the largest value': {**CLIP, 'OPT': 'SGD', 'BASE_LR': 0.05, 'CLIP_GRADIENTS.CLIP_VALUE': 0.7,
                                  'CLIP_GRADIENTS.NORM_TYPE': float('inf')},
    'clip by the 3-norm': {**CLIP, 'OPT': 'SGD', 'BASE_LR': 0.05, 'CLIP_GRADIENTS.CLIP_VALUE': 0.7,
                           'CLIP_GRADIENTS.NORM_TYPE': 3.0},
    'clip each value': {**CLIP, 'OPT': 'SGD', 'BASE_LR': 0.05, 'CLIP_GRADIENTS.CLIP_TYPE': 'value',
                        'CLIP_GRADIENTS.CLIP_VALUE': 0.7},
}


def groups(solver):
    """{(lr, weight_decay): names}: norm, then bias, then head; equal ones are one group."""
    result = {}
    for name in SHAPES:
        if name == FROZEN:
            continue
        lr, decay = solver['BASE_LR'], solver['WEIGHT_DECAY']
        if name.rsplit('.', 1)[0] in NORMS:
            decay = solver['WEIGHT_DECAY_NORM']
        if name.endswith('.bias'):
            lr, decay = lr * solver['BIAS_LR_FACTOR'], solver['WEIGHT_DECAY_BIAS']
        if name.startswith('heads.'):
            lr *= solver['HEADS_LR_FACTOR']
        result.setdefault((lr, decay), []).append(name)
    return result


def make_optimizer(solver, flat):
    sets = [{'params': [value], 'lr': lr, 'weight_decay': decay} for (lr, decay), value in flat.items()]
    if solver['OPT'] == 'SGD':
        return torch.optim.SGD(sets, lr=1.0, momentum=solver['MOMENTUM'], nesterov=solver['NESTEROV'])
    return getattr(torch.optim, solver['OPT'])(sets)


def clip(solver, flat):
    if not solver['CLIP_GRADIENTS.ENABLED']:
        return
    limit = solver['CLIP_GRADIENTS.CLIP_VALUE']
    for value in flat.values():
        if solver['CLIP_GRADIENTS.CLIP_TYPE'] == 'value':
            torch.nn.utils.clip_grad_value_(value, limit)
        else:
            torch.nn.utils.clip_grad_norm_(value, limit, solver['CLIP_GRADIENTS.NORM_TYPE'])


def logged_group(optimizer):
    rates = [group['lr'] for group in optimizer.param_groups]
    return max(range(len(rates)), key=lambda i: (rates.count(rates[i]), -i))


def expected(solver, weights, gradients):
    """One flat tensor per group, as fast-reid's ContiguousParams hands them to the optimizer."""
    parts = groups(solver)
    flat = {key: torch.nn.Parameter(torch.cat([weights[n].reshape(-1) for n in names])) for key, names in parts.items()}
    optimizer = make_optimizer(solver, flat)
    after_epoch = torch.optim.lr_scheduler.MultiStepLR(optimizer, solver['STEPS'], solver['GAMMA'])
    warmup, factor = solver['WARMUP_ITERS'], solver['WARMUP_FACTOR']
    after_step = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: 1.0 if i >= warmup else factor * (1 - i / warmup) + i / warmup)
    logged = logged_group(optimizer)

    def split(key, value):
        sizes = [weights[n].numel() for n in parts[key]]
        for name, piece in zip(parts[key], value.split(sizes)):
            yield name, piece.reshape(SHAPES[name]).clone()

    result = {}
    for step in range(STEPS):
        for key, value in flat.items():
            value.grad = torch.cat([gradients[step][n].reshape(-1) for n in parts[key]])
        clip(solver, flat)
        optimizer.step()
        result[f'lr.{step}'] = torch.tensor(optimizer.param_groups[logged]['lr'])
        if step + 1 <= warmup:
            after_step.step()
        if (step + 1) % ITERS_PER_EPOCH == 0 and step + 2 > warmup:
            after_epoch.step()
        for key, value in flat.items():
            result.update((f'param.{step}.{n}', piece) for n, piece in split(key, value.data))
            for kind, state in optimizer.state[value].items():
                if isinstance(state, torch.Tensor) and state.shape == value.shape:
                    result.update((f'{kind}.{step}.{n}', piece) for n, piece in split(key, state))
        result[f'param.{step}.{FROZEN}'] = weights[FROZEN]
    return result


def run(title, changes, backend):
    solver = {**DEFAULTS, **changes}
    g = torch.Generator().manual_seed(11)
    weights = {n: torch.randn(s, generator=g) for n, s in SHAPES.items()}
    gradients = [{n: torch.randn(s, generator=g) for n, s in SHAPES.items()} for _ in range(STEPS)]
    for step in gradients:
        step[FROZEN].zero_()
    tensors = {**weights, **{f'grad.{k}.{n}': v for k, step in enumerate(gradients) for n, v in step.items()}}
    config = {f'SOLVER.{k}': '.inf' if v == float('inf') else v for k, v in solver.items()}
    ours = run_tool('optimizer', {**config, 'MODEL.BACKEND': backend}, tensors, (STEPS, ITERS_PER_EPOCH))
    comparison = Comparison(f'{title} [{backend}]')
    reference = expected(solver, weights, gradients)
    for name, value in reference.items():
        kind = name.split('.')[0]
        comparison.check(kind, name, ours[name], value, PARAM if kind in ('param', 'lr') else STATE)
    states = {n.split('.')[0] for n in ours} - {n.split('.')[0] for n in reference}
    if states:
        comparison.failures.append(f'states that PyTorch does not have: {states}')
    return comparison


finish([run(title, changes, backend) for title, changes in CASES.items() for backend in ('ref', 'cpu')])
