"""Losses alone, with their gradients, over features and logits of several kinds, in both backends.

The reference is computed in float64.
"""
from common import Comparison, finish, run_tool, torch
import network

LOSS, GRADIENT = 1e-5, 1e-4


def labels_of(identities, images):
    return torch.arange(identities).repeat_interleave(images)


def expected(config, features, logits, labels):
    features = features.double().requires_grad_()
    logits = logits.double().requires_grad_()
    losses = {}
    if 'CrossEntropyLoss' in config['MODEL.LOSSES.NAME']:
        losses['loss_cls'] = config.get('MODEL.LOSSES.CE.SCALE', 1.0) * network.cross_entropy(
            logits, labels, config.get('MODEL.LOSSES.CE.EPSILON', 0.0), config.get('MODEL.LOSSES.CE.ALPHA', 0.2))
    if 'TripletLoss' in config['MODEL.LOSSES.NAME']:
        losses['loss_triplet'] = config.get('MODEL.LOSSES.TRI.SCALE', 1.0) * network.triplet(
            features, labels, config.get('MODEL.LOSSES.TRI.MARGIN', 0.3),
            config.get('MODEL.LOSSES.TRI.NORM_FEAT', False), config.get('MODEL.LOSSES.TRI.HARD_MINING', False))
    sum(losses.values()).backward()
    gradients = {'features': features.grad, 'logits': logits.grad}
    accuracy = (logits.argmax(1) == labels).double().mean()
    return losses, accuracy, gradients


def compare(title, config, features, logits, labels):
    for backend in ('ref', 'cpu'):
        tensors = {'features.weight': features.t().contiguous(), 'logits.weight': logits.t().contiguous(),
                   'labels': labels.int()}
        ours = run_tool('losses', {**config, 'MODEL.BACKEND': backend}, tensors)
        losses, accuracy, gradients = expected(config, features, logits, labels)
        comparison = Comparison(f'{title} [{backend}]')
        for name, value in losses.items():
            comparison.check('loss', name, ours[f'loss.{name}'], value, LOSS)
        comparison.check('metric', 'cls_accuracy', ours['metric.cls_accuracy'], accuracy, 1e-6)
        for name, value in gradients.items():
            value = torch.zeros_like(features if name == 'features' else logits) if value is None else value
            comparison.check('gradient', name, ours[f'grad.{name}.weight'], value.t(), GRADIENT)
        yield comparison


def run():
    g = torch.Generator().manual_seed(5)
    labels = labels_of(6, 4)
    centres = torch.randn(6, 40, generator=g)
    features = centres[labels] + 1.5 * torch.randn(24, 40, generator=g)
    logits = 2 * torch.randn(24, 11, generator=g) + 3 * torch.nn.functional.one_hot(labels, 11)

    for epsilon in (0.0, 0.1, -1.0):
        yield from compare(f'cross entropy, epsilon {epsilon}', {
            'MODEL.LOSSES.NAME': ['CrossEntropyLoss'], 'MODEL.LOSSES.CE.EPSILON': epsilon}, features, logits, labels)
    yield from compare('cross entropy, adaptive with alpha 0.35, scale 0.5', {
        'MODEL.LOSSES.NAME': ['CrossEntropyLoss'], 'MODEL.LOSSES.CE.EPSILON': -1.0, 'MODEL.LOSSES.CE.ALPHA': 0.35,
        'MODEL.LOSSES.CE.SCALE': 0.5}, features, logits, labels)
    yield from compare('cross entropy, large logits', {'MODEL.LOSSES.NAME': ['CrossEntropyLoss']},
                       features, logits * 40, labels)

    for margin in (0.3, 0.0):
        for norm_feat in (False, True):
            for hard in (True, False):
                yield from compare(f'triplet, margin {margin}, norm_feat {norm_feat}, hard {hard}', {
                    'MODEL.LOSSES.NAME': ['TripletLoss'], 'MODEL.LOSSES.TRI.MARGIN': margin,
                    'MODEL.LOSSES.TRI.NORM_FEAT': norm_feat, 'MODEL.LOSSES.TRI.HARD_MINING': hard},
                    features, logits, labels)
    yield from compare('triplet, one image of each identity', {
        'MODEL.LOSSES.NAME': ['TripletLoss'], 'MODEL.LOSSES.TRI.HARD_MINING': True}, features[:6], logits[:6],
        torch.arange(6))
    yield from compare('triplet, unequal numbers of images, scale 2', {
        'MODEL.LOSSES.NAME': ['TripletLoss'], 'MODEL.LOSSES.TRI.HARD_MINING': True, 'MODEL.LOSSES.TRI.SCALE': 2.0},
        features[:9], logits[:9], torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 3]))
    yield from compare('triplet, soft margin beyond the range of exp', {
        'MODEL.LOSSES.NAME': ['TripletLoss'], 'MODEL.LOSSES.TRI.MARGIN': 0.0, 'MODEL.LOSSES.TRI.HARD_MINING': True},
        features * 200, logits, labels)
    yield from compare('Bag of Tricks', {
        'MODEL.LOSSES.NAME': ['CrossEntropyLoss', 'TripletLoss'], 'MODEL.LOSSES.CE.EPSILON': 0.1,
        'MODEL.LOSSES.TRI.HARD_MINING': True}, features, logits, labels)


finish(list(run()))
