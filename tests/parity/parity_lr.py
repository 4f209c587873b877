"""Learning-rate curves against torch.optim.lr_scheduler, driven as fast-reid's LRScheduler hook drives them."""
import math

from common import Comparison, finish, run_tool, torch

BASE_LR = 3.5e-4


def warmup(method, factor, iters):
    def rate(i):
        if i >= iters:
            return 1.0
        a = i / iters
        return {'constant': factor, 'linear': factor * (1 - a) + a, 'exp': factor**(1 - a)}[method]

    return rate


def expected(config, ipe):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE_LR)
    epochs, iters, delay = (config[f'SOLVER.{k}'] for k in ('MAX_EPOCH', 'WARMUP_ITERS', 'DELAY_EPOCHS'))
    if config['SOLVER.SCHED'] == 'MultiStepLR':
        epoch_schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, config['SOLVER.STEPS'], config['SOLVER.GAMMA'])
    else:
        t_max = epochs - max(math.ceil(iters / ipe), delay)
        epoch_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, t_max, config['SOLVER.ETA_MIN_LR'])
    if iters > 0:
        warm = torch.optim.lr_scheduler.LambdaLR(
            optimizer, warmup(config['SOLVER.WARMUP_METHOD'], config['SOLVER.WARMUP_FACTOR'], iters))
    rates = []
    optimizer.step()  # only quiets a warning about the order of calls
    for i in range(epochs * ipe):
        rates.append(optimizer.param_groups[0]['lr'])
        if i + 1 <= iters:
            warm.step()
        if (i + 1) % ipe == 0:
            epoch, done = i // ipe, i + 1
            if done + 1 > iters and epoch + 1 > delay:
                epoch_schedule.step()
    return rates + [optimizer.param_groups[0]['lr']]


def case(ipe, epochs, iters, sched='MultiStepLR', steps=(4, 9), gamma=0.1, method='linear', factor=0.1, delay=0,
         eta_min=1e-7):
    return ipe, {
        'SOLVER.MAX_EPOCH': epochs, 'SOLVER.WARMUP_ITERS': iters, 'SOLVER.SCHED': sched, 'SOLVER.STEPS': list(steps),
        'SOLVER.GAMMA': gamma, 'SOLVER.WARMUP_METHOD': method, 'SOLVER.WARMUP_FACTOR': factor,
        'SOLVER.DELAY_EPOCHS': delay, 'SOLVER.ETA_MIN_LR': eta_min,
    }


CASES = {
    'Market-1501 Bag of Tricks': case(202, 120, 2000, steps=(40, 90)),
    'no warm-up': case(5, 15, 0),
    'warm-up ends with an epoch': case(5, 15, 10),
    'warm-up ends inside an epoch': case(5, 15, 12),
    'constant warm-up': case(7, 15, 20, method='constant', factor=0.25),
    'exponential warm-up': case(7, 15, 20, method='exp'),
    'delay longer than warm-up': case(5, 15, 7, delay=6),
    'milestones in any order, twice': case(3, 20, 4, steps=(9, 2, 9, 5), gamma=0.5),
    'no milestone': case(3, 6, 4, steps=()),
    'cosine': case(11, 30, 25, sched='CosineAnnealingLR'),
    'cosine, delayed': case(11, 30, 25, sched='CosineAnnealingLR', delay=12, eta_min=7e-7),
    'cosine without warm-up': case(4, 9, 0, sched='CosineAnnealingLR', eta_min=0.0),
    'cosine of one epoch': case(4, 3, 8, sched='CosineAnnealingLR'),
    'cosine past its end': case(4, 12, 8, sched='CosineAnnealingLR'),
    'training ends in the warm-up': case(4, 3, 100, sched='CosineAnnealingLR'),
}

comparisons = []
for name, (iters_per_epoch, config) in CASES.items():
    ours = [float(x) for x in run_tool('lr', config, args=(iters_per_epoch, BASE_LR)).split()]
    comparison = Comparison(name)
    comparison.check('lr', f'of {len(ours)} iterations', torch.tensor(ours, dtype=torch.float64),
                     torch.tensor(expected(config, iters_per_epoch), dtype=torch.float64), 1e-13)
    comparisons.append(comparison)
finish(comparisons)
