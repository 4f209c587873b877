#!/usr/bin/python3
"""The same files through PIL and torchvision, transforms as fast-reid puts them together; on one thread. Prints one JSON
line. What it leaves out: (x - mean) / std, which fast-reid leaves to the network."""
import argparse
import json
import pathlib
import time

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image, ImageOps

parser = argparse.ArgumentParser()
parser.add_argument('--folder', required=True)
for name, value in [('height', 256), ('width', 128), ('passes', 1)]:
    parser.add_argument('--' + name, type=int, default=value)
args = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(1)


def read(path):
    with open(path, 'rb') as file:
        return ImageOps.exif_transpose(Image.open(file)).convert('RGB')


def to_tensor(image):
    """fast-reid's own: 0…255, channels first."""
    array = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.size[1], image.size[0], 3)
    return array.permute(2, 0, 1).contiguous().float()


size = (args.height, args.width)
transform = T.Compose([T.Resize(size, interpolation=T.InterpolationMode.BICUBIC), T.Pad(10), T.RandomCrop(size),
                       T.RandomHorizontalFlip(0.5), to_tensor,
                       T.RandomErasing(0.5, value=[0.485 * 255, 0.456 * 255, 0.406 * 255])])
files = sorted(pathlib.Path(args.folder).iterdir())
for path in files[:16]:
    transform(read(path))
seconds, cpu = [], time.process_time()
for _ in range(args.passes):
    start = time.perf_counter()
    for path in files:
        transform(read(path))
    seconds.append(round(time.perf_counter() - start, 4))
print(json.dumps({'seconds': seconds, 'cpu_seconds': round((time.process_time() - cpu) / args.passes, 4), 'images': len(files)}))
