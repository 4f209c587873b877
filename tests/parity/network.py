"""The Bag-of-Tricks network and its losses in PyTorch, written from their formulas: the reference of the parity tests.

Names of parameters and buffers are those of fast-reid's state_dict.
"""
import torch
import torch.nn.functional as F
from torch import nn

DEPTHS = {
    '18x': (False, (2, 2, 2, 2)),
    '34x': (False, (3, 4, 6, 3)),
    '50x': (True, (3, 4, 6, 3)),
    '101x': (True, (3, 4, 23, 3)),
}


def conv(cin, cout, kernel, stride=1):
    return nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the channels; the stride is on the first 3x3."""

    def __init__(self, cin, planes, stride, bottleneck):
        super().__init__()
        cout = planes * (4 if bottleneck else 1)
        if bottleneck:
            plan = [(cin, planes, 1, 1), (planes, planes, 3, stride), (planes, cout, 1, 1)]
        else:
            plan = [(cin, planes, 3, stride), (planes, cout, 3, 1)]
        self.depth = len(plan)
        for i, (a, b, kernel, s) in enumerate(plan, 1):
            setattr(self, f'conv{i}', conv(a, b, kernel, s))
            setattr(self, f'bn{i}', nn.BatchNorm2d(b))
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
            if i < self.depth:
                y = F.relu(y)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth, last_stride):
        super().__init__()
        bottleneck, blocks = DEPTHS[depth]
        self.conv1 = conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, count in enumerate(blocks):
            planes = 64 << stage
            stride = (1, 2, 2, last_stride)[stage]
            layers = []
            for i in range(count):
                layers.append(Block(channels, planes, stride if i == 0 else 1, bottleneck))
                channels = planes * (4 if bottleneck else 1)
            setattr(self, f'layer{stage + 1}', nn.Sequential(*layers))
        self.channels = channels

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, padding=0, ceil_mode=True)
        for stage in range(1, 5):
            x = getattr(self, f'layer{stage}')(x)
        return x


class EmbeddingHead(nn.Module):
    def __init__(self, channels, classes, embedding_dim=0, bnneck=True, neck_feat='before', scale=1.0):
        super().__init__()
        neck = []
        if embedding_dim > 0:
            neck.append(nn.Conv2d(channels, embedding_dim, 1, bias=False))
            channels = embedding_dim
        if bnneck:
            neck.append(nn.BatchNorm2d(channels))
            neck[-1].bias.requires_grad_(False)
        self.weight = nn.Parameter(torch.zeros(classes, channels))
        self.bottleneck = nn.Sequential(*neck)
        self.neck_feat = neck_feat
        self.scale = scale

    def forward(self, x):
        pooled = F.adaptive_avg_pool2d(x, 1)
        neck = self.bottleneck(pooled)[..., 0, 0]
        if not self.training:
            return neck
        logits = F.linear(neck, self.weight) * self.scale
        return logits, pooled[..., 0, 0] if self.neck_feat == 'before' else neck


class Baseline(nn.Module):
    def __init__(self, depth='50x', last_stride=1, classes=8, **head):
        super().__init__()
        self.backbone = ResNet(depth, last_stride)
        self.heads = EmbeddingHead(self.backbone.channels, classes, **head)

    def forward(self, x):
        return self.heads(self.backbone(x))


def cross_entropy(logits, labels, epsilon=0.0, alpha=0.2):
    """Label smoothing epsilon/(C-1) off the target; a negative epsilon takes alpha times the target's probability."""
    log_p = F.log_softmax(logits, 1)
    rows = torch.arange(len(labels))
    with torch.no_grad():
        smooth = torch.full((len(labels), 1), float(epsilon), dtype=logits.dtype)
        if epsilon < 0:
            smooth = alpha * log_p.exp()[rows, labels].unsqueeze(1)
        target = (smooth / (logits.shape[1] - 1)).expand_as(logits).clone()
        target[rows, labels] = 1 - smooth[:, 0]
    loss = -(target * log_p).sum(1)
    return loss.sum() / max(int((loss != 0).sum()), 1)


def triplet(x, labels, margin=0.3, norm_feat=False, hard_mining=True):
    """Batch-hard or softmax-weighted mining; hinge for margin > 0, soft margin otherwise."""
    if norm_feat:
        u = F.normalize(x, dim=1)
        dist = 2 - 2 * u @ u.t()
    else:
        square = (x * x).sum(1)
        dist = (square[:, None] + square[None, :] - 2 * x @ x.t()).clamp(min=1e-12).sqrt()
    same = (labels[:, None] == labels[None, :]).to(x.dtype)
    other = 1 - same
    if hard_mining:
        far = (dist * same).max(1)[0]
        near = (dist * other + same * 1e9).min(1)[0]
    else:
        far = weighted(dist * same, same, +1)
        near = weighted(dist * other, other, -1)
    if margin > 0:
        return F.relu(far - near + margin).mean()
    loss = torch.log1p(torch.exp(far - near)).mean()
    return loss if torch.isfinite(loss) else F.relu(far - near + 0.3).mean()


def weighted(dist, mask, sign):
    """sum(dist softmax(sign dist)) over the mask, with the maximum taken over the masked matrix and 1e-6 in the divisor."""
    z = sign * dist
    e = torch.exp(z - (z * mask).max(1, keepdim=True)[0]) * mask
    return (dist * e / (e.sum(1, keepdim=True) + 1e-6)).sum(1)


def random_weights(model, seed):
    """Weights as a training sees them: fan-out normal convolutions, norms near 1, running statistics in use. Residual branches
    are damped (the last norm of a block near 0.2), as in trained networks, which keeps float32's noise small."""
    g = torch.Generator().manual_seed(seed)

    def normal(like, std):
        return torch.randn(like.shape, generator=g).to(like) * std

    for name, value in model.state_dict().items():
        if value.dim() == 4:
            value.copy_(normal(value, (2.0 / (value.shape[0] * value.shape[2] * value.shape[3]))**0.5))
        elif value.dim() == 2:
            value.copy_(normal(value, 0.01))
        elif name.endswith('running_var'):
            value.copy_(1 + normal(value, 0.1).abs())
        elif name.endswith('num_batches_tracked'):
            value.fill_(3)
        elif name.endswith('.weight'):
            value.copy_(1 + normal(value, 0.1))
        else:
            value.copy_(normal(value, 0.1))
    for module in model.modules():
        if isinstance(module, Block):
            getattr(module, f'bn{module.depth}').weight.data.mul_(0.2)
    for module in model.heads.bottleneck:
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.zero_()


def random_batch(identities, images, height, width, seed):
    """Smooth random images; those of one identity share a part of it. The triplet loss is far from zero."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(images)

    def smooth(count):
        coarse = torch.randn(count, 3, max(height // 8, 2), max(width // 8, 2), generator=g)
        return F.interpolate(coarse, size=(height, width), mode='bilinear', align_corners=False)

    noise = torch.randn(len(labels), 3, height, width, generator=g)
    return 0.5 * smooth(identities)[labels] + 1.5 * smooth(len(labels)) + 0.3 * noise, labels


def keep_off_kinks(model, images):
    """Moves the bias of each norm before a ReLU so that no value of this batch lies near zero.

    There a rounding error decides whether a gradient passes, and one such decision changes a weight's gradient by far more
    than rounding does: the comparison would test luck. `model` is changed in place; the forward runs in float64.
    """
    def shift(x):
        """Per channel, the middle of the widest gap between neighbouring values with the middle near zero."""
        values = x.detach().transpose(0, 1).flatten(1).sort(1)[0]
        middle, gap = (values[:, 1:] + values[:, :-1]) / 2, values[:, 1:] - values[:, :-1]
        gap = torch.where(middle.abs() < 0.1 * values.std(1, keepdim=True), gap, torch.zeros_like(gap))
        best = gap.argmax(1, keepdim=True)
        width = gap.gather(1, best)[:, 0]
        return torch.where(width > 0, -middle.gather(1, best)[:, 0], torch.zeros_like(width))

    def adjusted(norm, x, *rest):
        y = sum(rest, norm(x))
        delta = shift(y)
        norm.bias.data += delta
        return F.relu(y + delta[:, None, None])

    backbone = model.backbone
    with torch.no_grad():
        x = adjusted(backbone.bn1, backbone.conv1(images))
        x = F.max_pool2d(x, 3, 2, padding=0, ceil_mode=True)
        for stage in range(1, 5):
            for block in getattr(backbone, f'layer{stage}'):
                skip = x if block.downsample is None else block.downsample(x)
                y = x
                for i in range(1, block.depth + 1):
                    y = getattr(block, f'conv{i}')(y)
                    y = adjusted(getattr(block, f'bn{i}'), y, *([skip] if i == block.depth else []))
                x = y
