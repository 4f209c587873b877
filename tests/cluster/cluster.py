"""A cluster of reidds on hosts of its own (hosts.py), with certificates; shared by the tests of this folder."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from hosts import Hosts, skip  # noqa: F401 (skip is for the tests)

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get('REID_BUILD_DIR', ROOT / 'build/ci'))
BIN = BUILD / 'bin'
FAKE = BUILD / 'tests/reidd_fake_trainer'
PATIENCE = float(os.environ.get('REID_TEST_PATIENCE', '4'))  # limits of waits are multiplied with it: the machine may be busy
PORT = 7411


def wait_for(condition, seconds, what):
    """The first true value of condition(); fails the test after the deadline."""
    deadline = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f'{what}: not within {seconds * PATIENCE:g} s')


class Cluster:
    """with Cluster(3, '--slots', '2') as c: c.ctl('node1', 'nodes') …"""

    def __init__(self, count=3, *options, trainer=FAKE, start=True, slow=False):
        self.hosts = Hosts(count, slow=slow)
        self.names = self.hosts.names
        self.head = self.names[0]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-c-'))
        self.folder.chmod(0o755)
        self.options = ['--trainer', str(trainer), *map(str, options)] if trainer else list(map(str, options))
        self.autostart = start
        self.daemons, self.logs = {}, {}
        self.environment = {}  # of daemons, by name

    def __enter__(self):
        self.hosts.__enter__()
        try:
            self.certificates()
            self.write_file()
            if self.autostart:
                for name in self.names:
                    self.start(name)
                self.wait_up(*self.names)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        reports = self.find_reports() if not self.hosts.closed else []
        self.hosts.close()  # kills all of them
        for process in self.daemons.values():
            process.kill()  # nsenter, which may be stopped
            process.wait()
        for log in self.logs.values():
            log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not reports, reports[0]

    def find_reports(self):
        """What sanitizers have found in daemons, those that end now included."""
        if os.environ.get('REID_SANITIZED') == '1':
            for name, process in self.daemons.items():
                if process.poll() is None:
                    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                        self.stop(name)
        texts = [log.read_text(errors='replace') for log in self.folder.glob('*/reidd.log')]
        return [text[text.index(word):][:3000] for text in texts
                for word in ('ERROR: AddressSanitizer', 'ERROR: LeakSanitizer', 'WARNING: ThreadSanitizer', 'runtime error:')
                if word in text]

    # ---- files ----

    def reidctl(self, *words, **more):
        return subprocess.run([str(BIN / 'reidctl'), *map(str, words)], capture_output=True, text=True,
                              timeout=60 * PATIENCE, **more)

    def issue(self, role, name, out, *hosts):
        done = self.reidctl('ca', 'issue', self.folder / 'ca', name, '--role', role, '--out', out,
                            *(('--hosts', ','.join(hosts)) if hosts else ()))
        assert done.returncode == 0, done.stderr

    def certificates(self):
        """An authority, one certificate per node, and users `admin` and `viewer`."""
        done = self.reidctl('ca', 'init', self.folder / 'ca')
        assert done.returncode == 0, done.stderr
        for name in self.names:
            self.issue('node', name, self.folder / 'tls' / name, self.hosts.address[name])
        for name in ('admin', 'viewer'):
            self.issue(name, name, self.folder / 'tls' / name)

    def address(self, name):
        return f'tcp://{self.hosts.address[name]}:{PORT}'

    def write_file(self, head=None):
        self.head = head or self.head
        self.file = self.folder / 'cluster.yml'
        rows = [f'  - {{name: {n}, address: "{self.address(n)}"{", head: true" if n == self.head else ""}}}' for n in self.names]
        self.file.write_text('network: 10.77.0.0/24\nnodes:\n' + '\n'.join(rows) + '\n')

    # ---- daemons ----

    def state(self, name):
        return self.folder / name

    def socket(self, name):
        return f'unix:{self.state(name) / "reidd.sock"}'

    def start(self, name, *more, wait=True):
        self.state(name).mkdir(exist_ok=True)
        if name in self.logs:
            self.logs[name].close()
        self.logs[name] = open(self.state(name) / 'reidd.log', 'ab')
        self.daemons[name] = self.hosts.start(
            name, [BIN / 'reidd', '--state-dir', self.state(name), '--socket', self.socket(name), '--cluster', self.file,
                   '--tls-dir', self.folder / 'tls', *self.options, *more],
            stdin=subprocess.DEVNULL, stdout=self.logs[name], stderr=self.logs[name], env={**os.environ, **self.environment.get(name, {})})
        if wait:
            wait_for(lambda: self.ctl(name, 'version').returncode == 0 or self.daemons[name].poll() is not None, 10,
                     f'reidd of {name} answers')
            assert self.daemons[name].poll() is None, self.log(name)

    def log(self, name):
        return (self.state(name) / 'reidd.log').read_text()

    def kill(self, name, number=signal.SIGKILL):
        self.hosts.kill(self.daemons[name], number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self.daemons[name].wait(20 * PATIENCE)

    def stop(self, name):
        self.kill(name, signal.SIGTERM)

    # ---- questions ----

    def ctl(self, name, *words, timeout=60, env=None, user=None):
        """reidctl on that host, at its daemon's socket; as `user` with the group nogroup."""
        other = ['setpriv', '--reuid', user, '--regid', 'nogroup', '--clear-groups'] if user else []
        return self.hosts.run(name, [*other, BIN / 'reidctl', '-H', self.socket(name), *words], timeout=timeout * PATIENCE,
                              env={**os.environ, **(env or {})})

    def remote(self, name, user, *words, at=None):
        """reidctl on that host, over TCP with the certificate of `user`."""
        return self.hosts.run(name, [BIN / 'reidctl', '-H', self.address(at or self.head), '--tls-dir', self.folder / 'tls' / user,
                                     *words], timeout=60 * PATIENCE)

    def nodes(self, name=None):
        done = self.ctl(name or self.head, 'nodes', '-o', 'json')
        assert done.returncode == 0, done.stderr
        return {node['name']: node for node in json.loads(done.stdout)}

    def wait_state(self, name, state, seconds=20):
        def seen():
            node = self.nodes()[name]
            return node if node['state'] == state else None
        return wait_for(seen, seconds, f'{name} is {state}')

    def wait_up(self, *names, seconds=20):
        for name in names:
            self.wait_state(name, 'UP', seconds)

    def submit(self, script, *options, name=None, **more):
        """A job of the scripted trainer (tests/unit/daemon/fake); its id and folder."""
        self.jobs = getattr(self, 'jobs', 0) + 1
        out = self.folder / f'out{self.jobs}'
        out.mkdir()
        out.chmod(0o777)
        (out / 'script').write_text(script)
        config = self.folder / f'job{self.jobs}.yml'
        config.write_text(f'OUTPUT_DIR: {out}\nSOLVER: {{IMS_PER_BATCH: 48}}\n')
        done = self.ctl(name or self.head, 'submit', *options, config, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), out

    def job(self, job, name=None):
        done = self.ctl(name or self.head, 'describe', job, '-o', 'json')
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def wait_job(self, job, states, seconds=60):
        def seen():
            found = self.job(job)
            return found if found['state'] in states else None
        return wait_for(seen, seconds, f'{job} gets {states}')


def need_programs(*names):
    for name in names:
        if not pathlib.Path(name).exists() and not (BIN / name).exists():
            skip(f'{name} is not built')


with contextlib.suppress(ImportError):
    import unittest

    class Case(unittest.TestCase):
        """One cluster for the tests of a class; each test leaves it whole."""
        count, options = 3, ('--slots', '2')

        @classmethod
        def setUpClass(cls):
            need_programs('reidd', 'reidctl', 'reidd-shim', FAKE)
            cls.cluster = Cluster(cls.count, *cls.options)
            cls.cluster.__enter__()

        @classmethod
        def tearDownClass(cls):
            cls.cluster.close()
