#!/usr/bin/python3
"""client/python installs from the source tree with pip, leaves the tree as it was, and its sdist is complete."""
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

import support

MISSING = [name for name in ('pip', 'setuptools', 'venv', 'wheel') if importlib.util.find_spec(name) is None]
if MISSING:
    print(f'SKIP: no {MISSING[0]}; install it with: apt-get install python3-pip python3-setuptools python3-venv python3-wheel')
    sys.exit(77)

SOURCE = support.ROOT / 'client/python'
TRY = 'import reidd; from reidd._stubs import pb; print(reidd.__file__, pb.HookUp(verdict=pb.HookVerdict(event=3)).verdict.event)'


class Package(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_ok(self, *command, **options):
        environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON') or k == 'PYTHONDONTWRITEBYTECODE'}
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                              timeout=300, **options)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def install(self, what):
        """Into a venv of its own; no network."""
        self.run_ok('/usr/bin/python3', '-m', 'venv', '--system-site-packages', '--clear', self.folder / 'venv')
        python = self.folder / 'venv/bin/python'
        self.run_ok(python, '-m', 'pip', 'install', '--no-index', '--no-build-isolation', '--no-cache-dir', what)
        path, number = self.run_ok(python, '-c', TRY, cwd=self.folder).split()
        self.assertTrue(path.startswith(str(self.folder)), path)
        self.assertEqual(number, '3')

    def test_from_the_source_tree(self):
        before = sorted(SOURCE.rglob('*'))
        self.install(SOURCE)
        self.assertEqual(sorted(SOURCE.rglob('*')), before)

    def test_from_an_sdist(self):
        build = 'import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])'
        copy = self.folder / 'tree/client/python'
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns('build', 'dist', '*.egg-info', '__pycache__'))
        shutil.copytree(support.ROOT / 'proto', self.folder / 'tree/proto')
        self.run_ok('/usr/bin/python3', '-c', build, self.folder, cwd=copy)
        archive, = self.folder.glob('reidd-*.tar.gz')
        names = {n.split('/', 1)[1] for n in tarfile.open(archive).getnames() if '/' in n}
        for name in ('proto/reid/v1/hook.proto', 'proto/reid/v1/job.proto', 'setup.py', 'reidd/py.typed', 'README.md',
                     'examples/lr_milestones.py'):
            self.assertIn(name, names)
        self.assertFalse([n for n in names if n.endswith('.binpb')])
        self.install(archive)

    def test_the_source_tree_says_that_it_is_not_built(self):
        done = subprocess.run(['/usr/bin/python3', '-B', '-c', 'import reidd'], cwd=SOURCE, capture_output=True, text=True,
                              env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'})
        self.assertIn('pip install', done.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
