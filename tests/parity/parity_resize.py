#!/usr/bin/python3
"""Decoding and bicubic resizing against PIL: same bytes wanted, for JPEG and PNG of every kind and many sizes.

usage: parity_resize.py PARITY_DATA_TOOL
"""
import os
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageOps

TARGETS = [(128, 256), (64, 128), (64, 64), (33, 17), (1, 1), (300, 5), (224, 224)]
SOURCES = [(64, 128), (64, 64), (128, 256), (1, 1), (2, 3), (31, 77), (200, 100), (640, 481), (1000, 37)]


def picture(rng, width, height):
    """Smooth shapes with some noise and hard edges: overshoot of the cubic is exercised."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.zeros((height, width, 3))
    for c in range(3):
        fx, fy, phase = rng.random(3) * [0.3, 0.3, 6.0]
        image[..., c] = 128 + 127 * np.sin(fx * x + fy * y + phase)
    image[rng.random((height, width)) < 0.1] = 255
    image[: height // 3, : width // 2] = 0
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def exif_block(orientation, big_endian):
    order = ">" if big_endian else "<"
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + head + struct.pack(order + "H", 1) + entry + struct.pack(order + "I", 0)


def save_variants(rng, folder):
    """Yields paths of images in all the ways they can be stored."""
    for number, (width, height) in enumerate(SOURCES):
        image = picture(rng, width, height)
        base = os.path.join(folder, f"s{number}")
        image.save(base + ".png")
        yield base + ".png"
        for name, options in [("q95", dict(quality=95)), ("q30", dict(quality=30)),
                              ("444", dict(quality=90, subsampling=0)), ("422", dict(quality=90, subsampling=1)),
                              ("prog", dict(quality=80, progressive=True)), ("opt", dict(quality=75, optimize=True))]:
            image.save(f"{base}_{name}.jpg", **options)
            yield f"{base}_{name}.jpg"
    image = picture(rng, 45, 70)
    modes = {"L": image.convert("L"), "1": image.convert("1"), "P": image.convert("P", palette=Image.ADAPTIVE, colors=200),
             "P4": image.convert("P", palette=Image.ADAPTIVE, colors=4), "LA": image.convert("LA"),
             "RGBA": image.convert("RGBA")}
    alpha = Image.fromarray(rng.integers(0, 256, (70, 45), dtype=np.uint8))
    modes["RGBA"].putalpha(alpha)
    modes["LA"].putalpha(alpha)
    for name, variant in modes.items():
        path = os.path.join(folder, f"mode_{name}.png")
        variant.save(path, **({"transparency": 3} if name == "P" else {}))
        yield path
    for bits, levels in [(2, 4), (4, 16)]:  # gray of a low depth, written by hand
        yield raw_png(os.path.join(folder, f"gray{bits}.png"), rng, bits, color=0)
    yield raw_png(os.path.join(folder, "rgb16.png"), rng, 16, color=2)
    yield raw_png(os.path.join(folder, "rgba16.png"), rng, 16, color=6)
    for name, mode in [("gray", "L"), ("cmyk", "CMYK")]:
        path = os.path.join(folder, f"mode_{name}.jpg")
        image.convert(mode).save(path, quality=92)
        yield path
    for orientation in range(0, 10):
        path = os.path.join(folder, f"exif{orientation}.jpg")
        image.save(path, quality=90, exif=exif_block(orientation, orientation % 2 == 1))
        yield path
    path = os.path.join(folder, "exif.png")
    image.save(path, exif=exif_block(6, False))
    yield path
    path = os.path.join(folder, "name_lies.jpg")
    image.save(path, format="PNG")
    yield path


def raw_png(path, rng, bits, color, width=37, height=21):
    import zlib
    channels = {0: 1, 2: 3, 6: 4}[color]
    row = (width * channels * bits + 7) // 8
    data = b"".join(b"\0" + rng.bytes(row) for _ in range(height))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))
    return path


def expected(path, width, height):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    return np.asarray(image.resize((width, height), Image.BICUBIC)).transpose(2, 0, 1)


def main():
    tool = sys.argv[1]
    rng = np.random.default_rng(7)
    random.seed(7)
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for path in save_variants(rng, folder):
            sizes = set(TARGETS if "/s" in path[len(folder):] else TARGETS[:3])
            sizes.add(Image.open(path).size)
            sizes.add((random.randint(1, 200), random.randint(1, 300)))
            cases += [(path, width, height, f"{folder}/out{len(cases)}_{width}_{height}") for width, height in sizes]
        lines = "".join(f"{p} {w} {h} {o}\n" for p, w, h, o in cases)
        answers = subprocess.run([tool, "resize"], input=lines, text=True, capture_output=True, check=True).stdout
        worst, failed = 0, 0
        for (path, width, height, out), answer in zip(cases, answers.splitlines(), strict=True):
            if answer != "ok":
                print(f"{os.path.basename(path)} {width}x{height}: {answer}")
                failed += 1
                continue
            ours = np.fromfile(out, np.uint8).reshape(3, height, width).astype(int)
            difference = np.abs(ours - expected(path, width, height)).max()
            if difference:
                print(f"{os.path.basename(path)} {width}x{height}: differs by up to {difference}")
                failed += 1
            worst = max(worst, difference)
    print(f"{len(cases)} cases, {failed} differ, largest byte difference {worst}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
