"""What the integration tests share: a small data set in Market-1501's layout, runs of reid-train, a daemon of one's own."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

try:
    from PIL import Image, ImageDraw
except ImportError as missing:
    print(f'SKIP: {missing}; install it with: apt-get install python3-pil')
    sys.exit(77)

ROOT = pathlib.Path(__file__).parents[2]
BIN = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci')) / 'bin'
CONFIG = ROOT / 'deploy/configs/Demo/bagtricks_R18.yml'
# A network and a batch that two cores step in some 8 ms.
SMALL = ['MODEL.BACKBONE.WIDTH', '32', 'MODEL.BACKBONE.FEAT_DIM', '256', 'INPUT.SIZE_TRAIN', '[32, 32]', 'INPUT.SIZE_TEST', '[32, 32]', 'SOLVER.IMS_PER_BATCH', '32',
         'DATALOADER.NUM_WORKERS', '1', 'TEST.IMS_PER_BATCH', '32',
         'MODEL.CONVOLUTION', 'rule']  # the same bits from run to run, whatever is measured under load
# Weight decay times rate far above 2: the weights grow a thousandfold each step until they overflow.
DIVERGE = ['SOLVER.OPT', 'SGD', 'SOLVER.BASE_LR', '1000', 'SOLVER.WEIGHT_DECAY', '1', 'SOLVER.WARMUP_ITERS', '0',
           'SOLVER.MAX_EPOCH', '10', 'TEST.EVAL_PERIOD', '0']
# Ranks that a build trains with: one without MPI.
RANKS = 2 if os.environ.get('REID_HAVE_MPI', '1') == '1' else 1
needs_mpi = unittest.skipIf(RANKS == 1, 'a build without MPI')
# Threads of all ranks together, however many cores there are: the bits depend on them.
THREADS = int(os.environ.get('OMP_NUM_THREADS', '2'))
# What the limits of waits are multiplied with: nothing here is about time, and the machine may be busy.
PATIENCE = float(os.environ.get('REID_TEST_PATIENCE', '4'))
SANITIZED = os.environ.get('REID_SANITIZED') == '1'


def draw(pid, cam, rng):
    """An image of its own for each identity; the camera and chance vary it."""
    colors = random.Random(pid)
    one, two, three = (tuple(colors.randrange(256) for _ in range(3)) for _ in range(3))
    image = Image.new('RGB', (32, 32), one)
    pen = ImageDraw.Draw(image)
    x, y = rng.randrange(5), rng.randrange(5)
    pen.ellipse((4 + x, 4 + y, 20 + x, 20 + y), fill=two)
    pen.rectangle((0, 25 + y // 2, 31, 31), fill=tuple((c + 40 * cam) % 256 for c in three))
    return image


def make_market(folder, train_ids=24, test_ids=12, images=4):
    """bounding_box_train, query and bounding_box_test with two cameras; identities of train and test are disjoint."""
    rng = random.Random(1)
    base = pathlib.Path(folder) / 'Market-1501-v15.09.15'
    plan = [('bounding_box_train', range(1, train_ids + 1), (1, 2), images),
            ('query', range(train_ids + 1, train_ids + test_ids + 1), (1,), 1),
            ('bounding_box_test', range(train_ids + 1, train_ids + test_ids + 1), (2,), 3)]
    for name, pids, cams, count in plan:
        (base / name).mkdir(parents=True)
        for pid in pids:
            for cam in cams:
                for k in range(count):
                    draw(pid, cam, rng).save(base / name / f'{pid:04d}_c{cam}s1_{k:06d}_00.jpg', quality=95)
    return base


def alive(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds, what):
    """The first true value of condition(); fails the test after the deadline."""
    deadline = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f'{what}: not within {seconds * PATIENCE:g} s')


def processes_with(text):
    """Pids of live processes in whose environment or command line the text stands."""
    found = []
    for entry in pathlib.Path('/proc').iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if text.encode() in (entry / 'environ').read_bytes() + (entry / 'cmdline').read_bytes():
                if alive(int(entry.name)):
                    found.append(int(entry.name))
        except OSError:
            pass
    return found


def bits(checkpoint):
    """Hashes of the parameters and of the optimizer's state."""
    return {name: hashlib.sha256((pathlib.Path(checkpoint) / name).read_bytes()).hexdigest()
            for name in ('model.safetensors', 'optimizer.safetensors')}


def manifest(checkpoint):
    return json.loads((pathlib.Path(checkpoint) / 'manifest.json').read_text())


def usage(pid):
    """Resident KiB and open descriptors."""
    rss = int(pathlib.Path(f'/proc/{pid}/status').read_text().split('VmRSS:')[1].split()[0])
    return rss, len(os.listdir(f'/proc/{pid}/fd'))


class Case(unittest.TestCase):
    """A temporary folder with the data set in it, shared by the tests of a class."""
    images = 4  # of an identity and a camera

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-'))  # short: socket paths have 107 bytes
        cls.data = cls.folder / 'data'
        make_market(cls.data, images=cls.images)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def overrides(self, out, *more):
        return ['DATASETS.ROOT', str(self.data), 'OUTPUT_DIR', str(self.folder / out), *SMALL, *more]

    def command(self, out, *more, ranks=1, flags=()):
        """A reid-train command line, under mpirun for several ranks."""
        train = [str(BIN / 'reid-train'), '--config-file', str(CONFIG), *flags, *self.overrides(out, *more)]
        if ranks == 1:
            return train
        return ['mpirun', '--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '-np', str(ranks)] + train

    def environment(self, ranks=1):
        return {**os.environ, 'OMP_NUM_THREADS': str(max(1, THREADS // ranks)), 'TMPDIR': str(self.folder)}

    def start(self, *args, ranks=1, **kwargs):
        return subprocess.Popen(self.command(*args, ranks=ranks, **kwargs), env=self.environment(ranks),
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def train(self, *args, ranks=1, code=0, **kwargs):
        """Runs to the end and returns the output."""
        done = subprocess.run(self.command(*args, ranks=ranks, **kwargs), env=self.environment(ranks),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300 * PATIENCE)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout


class Daemon:
    """A reidd with its own state folder and socket."""

    def __init__(self, folder, *options, start=True):
        self.state = pathlib.Path(folder)
        self.socket = self.state / 'reidd.sock'
        self.options = options
        self.process = None
        if start:
            self.start()

    def start(self):
        self.state.mkdir(parents=True, exist_ok=True)
        if self.process is not None:
            self.log.close()
        self.log = open(self.state / 'reidd.log', 'ab')
        self.process = subprocess.Popen(
            [str(BIN / 'reidd'), '--state-dir', str(self.state), '--socket', f'unix:{self.socket}', *self.options],
            stdout=self.log, stderr=self.log, env={**os.environ, 'OMP_NUM_THREADS': str(max(1, THREADS // RANKS))})
        wait_for(lambda: self.ctl('version').returncode == 0 or self.process.poll() is not None, 10, 'reidd answers')
        assert self.process.poll() is None, (self.state / 'reidd.log').read_text()

    def ctl(self, *args, timeout=120):
        return subprocess.run([str(BIN / 'reidctl'), '-H', f'unix:{self.socket}', *map(str, args)],
                              capture_output=True, text=True, timeout=timeout * PATIENCE)

    def ctl_at_once(self, *commands):
        """All at the same time, for words that must come early in a job's life; what each gave, in order."""
        with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda words: self.ctl(*words), commands))

    def job(self, name):
        done = self.ctl('describe', name, '-o', 'json')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rows(self, name):
        done = self.ctl('metrics', name)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_state(self, name, states, seconds):
        return wait_for(lambda: (lambda j: j if j['state'] in states else None)(self.job(name)), seconds,
                        f'{name} gets {states}')

    def rank_pids(self, job):
        return [p for p in processes_with(f'REIDD_JOB={job}') if 'reid-train' in exe_name(p)]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            code = self.process.wait(20 * PATIENCE)
            assert code == 0, (code, (self.state / 'reidd.log').read_text()[-2000:])
        self.log.close()


def exe_name(pid):
    try:
        return os.path.basename(os.readlink(f'/proc/{pid}/exe'))
    except OSError:
        return ''


def main():
    unittest.main(verbosity=2)
