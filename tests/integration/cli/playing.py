"""A daemon that follows a script (fake_reidd), and reidctl against it: what the tests of its commands share."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from terminal import Terminal

ROOT = pathlib.Path(__file__).parents[3]
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci'))
REIDCTL = str(BUILD / 'bin/reidctl')
CONFIG = str(ROOT / 'deploy/configs/Demo/bagtricks_R18.yml')
PATIENCE = float(os.environ.get('REID_TEST_PATIENCE', '4'))  # limits of waits are multiplied with it: the machine may be busy
PENDING, STARTING, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(1, 7)
LOADING, TRAINING, EVALUATING, SAVING = range(1, 5)
STATUS = {'INVALID': 1, 'NOT_FOUND': 2, 'EXISTS': 3, 'PERMISSION': 4, 'PRECONDITION': 6, 'EXHAUSTED': 7, 'INTERNAL': 14}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ('NO_COLOR', 'REIDD_HOST', 'FASTREID_DATASETS')}


def wait_until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f'{what}: not within {seconds * PATIENCE:g} s'
        time.sleep(0.01)

class Fake:
    """The scripted daemon."""

    def __init__(self, socket):
        self.process = subprocess.Popen([str(BUILD / 'tests/fake_reidd'), socket], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.jobs = {}
        self.seq = {}
        wait_until(lambda: os.path.exists(socket), 'fake_reidd listens')
        self.do('streams')  # an answer: it has not only bound the socket, but listens

    def do(self, verb, **what):
        self.process.stdin.write(json.dumps({'do': verb, **what}) + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip('\n')
        assert answer, f'fake_reidd does not know how to {verb} {what}'
        return answer

    def job(self, id, **changes):
        now = int(time.time() * 1000)
        job = self.jobs.setdefault(id, {'id': id, 'name': 'demo', 'user': 'ada', 'state': RUNNING, 'phase': TRAINING,
                                        'ranks': 2, 'attempt': 1, 'iteration': 0, 'max_iteration': 100, 'max_epoch': 10,
                                        'eta': 75, 'rate': 500, 'submitted_ms': now - 90_000, 'started_ms': now - 80_000,
                                        'output_dir': '/srv/out', 'config_yaml': 'SEED: 7\n'})
        job.update(changes)
        self.do('job', **job)

    def row(self, id, verb='row', **scalars):
        seq = self.seq[id] = self.seq.get(id, 0) + 1
        self.do(verb, id=id, seq=seq, iteration=seq - 1, epoch=(seq - 1) // 10, wall_ms=1_700_000_000_000 + seq,
                scalars=scalars or {'total_loss': 10 / seq})

    def last(self):
        """The last request, without what has its default."""
        return json.loads(self.do('last'))

    def attach(self):
        """The newest call of Attach, and what has come on it."""
        return json.loads(self.do('attach'))

    def wait_attach(self, condition, what):
        wait_until(lambda: condition(self.attach()), what)
        return self.attach()

    def wait_streams(self, count):
        wait_until(lambda: int(self.do('streams')) == count, f'{count} streams')

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(10 * PATIENCE)
        self.process.stdout.close()
        assert code == 0, code


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-'))
        self.socket = str(self.folder / 's')
        self.fake = Fake(self.socket)
        self.env = {**ENVIRONMENT, 'REIDD_HOST': f'unix:{self.socket}', 'TERM': 'xterm', 'LC_ALL': 'C.UTF-8'}
        self.started = []

    def tearDown(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.fake.close()
        shutil.rmtree(self.folder)

    def ctl(self, *args, code=0, text=True, **kwargs):
        """Runs reidctl to its end."""
        done = subprocess.run([REIDCTL, *map(str, args)], env=self.env, capture_output=True, text=text,
                              cwd=self.folder, timeout=20 * PATIENCE, **kwargs)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        return done

    def start(self, *args):
        process = subprocess.Popen([REIDCTL, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, cwd=self.folder)
        self.started.append(process)
        return process

    def end(self, process):
        """Its output and what it said on standard error."""
        return process.communicate(timeout=20 * PATIENCE)

    def terminal(self, *args, columns=80, lines=24, **env):
        terminal = Terminal([REIDCTL, *args], columns, lines, {**self.env, **env})
        self.started.append(terminal.process)
        return terminal


def main():
    unittest.main(verbosity=2)
