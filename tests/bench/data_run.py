"""The benchmark `data`: JPEG files to augmented float images on one thread, bench_data against PIL and torchvision
(data_peer.py), from files of half the size, from files of the same size, and from the cache."""
import pathlib
import tempfile

import numpy as np
import turns
from PIL import Image

HERE = pathlib.Path(__file__).parent
FILES = 512


def make_files(folder, height, width):
    """Soft colours with edges and a little noise: about 3 KB for 128 x 64, as Market-1501's."""
    folder.mkdir()
    random = np.random.default_rng(1)
    for i in range(FILES):
        coarse = Image.fromarray(random.integers(0, 256, (8, 4, 3), np.uint8)).resize((width, height), Image.BICUBIC)
        pixels = np.asarray(coarse, np.int16) + random.integers(-6, 7, (height, width, 3))
        y, x = random.integers(0, height // 2), random.integers(0, width // 2)
        pixels[y:y + height // 3, x:x + width // 3] = random.integers(0, 256, 3)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f'{i:04}.jpg', quality=90)


def run(name, build, rounds, threads):
    figures = {}
    shared = pathlib.Path('/dev/shm')  # no disk writes behind the runs
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        for height, width in ((128, 64), (256, 128)):
            files = pathlib.Path(folder) / f'{height}'
            make_files(files, height, width)
            product = [build / 'tests/bench_data', '--folder', files, '--passes', 2]
            samples = turns.in_turns({'reidd': product, 'reidd, cached': [*product, '--cache', 512],
                                      'PIL, torchvision': ['/usr/bin/python3', HERE / 'data_peer.py', '--folder', files]},
                                     rounds)
            title = f'{name}, {FILES} JPEG files {height}x{width} to 256x128, one thread'
            figures[f'{height}x{width}'] = turns.table(
                title, samples, {'images/s': lambda s: f'{FILES / min(s["seconds"]):.0f}',
                                 'by CPU': lambda s: f'{FILES / min(s["cpu_seconds"]):.0f}'})
            ratio = figures[f'{height}x{width}']['PIL, torchvision']
            # The target is of small files; for larger ones most of the time is libjpeg-turbo's on both sides.
            target = 8 if height == 128 else None
            figures[f'{height}x{width}']['ratios'] = [turns.judge('PIL, torchvision / reidd', ratio['ratio'], '>=', target),
                                                      turns.judge('the same by CPU time', ratio['cpu_ratio'], '', None)]
    return figures
