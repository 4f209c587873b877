#!/usr/bin/python3
"""Plants faults in a copy of the CUDA module's sources and shows that the project's tests catch each.

run.py --build DIR [--smoke] [NAME…]   (DIR: a build folder with everything built)

For each row of mutants.py the changed file is compiled as the build does it, with the outputs in a folder of its own, and what
depends on it is linked again; the tests then run on those programs. The sources and the build folder stay as they are."""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from mutants import MUTANTS

ROOT = pathlib.Path(__file__).parents[3]
TARGETS = ['reid_cuda', 'reid_cuda_twins', 'reid-train', 'reid_ops', 'reid_flat', 'emulation_collectives']
# One of each kind, caught within seconds by the first test of its row.
SMOKE = ['no_wait_for_compute', 'bucket_order_by_rank', 'host_reads_device', 'one_thread_too_many', 'reads_pinned_early', 'takes_tf32']
CUDA = ['/usr/bin/python3', str(ROOT / 'tests/integration/cuda.py')]
TESTS = {
    'ops': ['{run}', '{build}/tests/reid_ops', '--compare', '--backend', 'cuda'],
    'flat': ['{run}', '{build}/tests/reid_flat', '--backend', 'cuda'],
    'one_gpu': [*CUDA, '-k', 'test_one_gpu_like_cpu'],
    'two_gpus': [*CUDA, '-k', 'test_two_gpus_like_cpu'],
    'collectives': ['mpirun', '--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '-np', '2',
                    '{run}', '{build}/tests/emulation_collectives'],
    'unfused': ['env', 'REID_EMU_FUSION=0', '{run}', '{build}/tests/reid_ops', '--compare', '--backend', 'cuda', '--filter', '+norm'],
    'fp16': [*CUDA, '-k', 'test_fp16_like_cpu'],
    'overflow': [*CUDA, '-k', 'test_fp16_overflow'],
    'compression': [*CUDA, '-k', 'test_compressed_gradients'],
}
# What a failed test says, the most telling first.
TELLING = [r'EMU\[\d+\] [A-Z-]+: .*', r'\S.* differs by .*', r'error reid-train rank=\d: .*', r'AssertionError: .*', r'.*: want .*']


def drop_first_barrier(text):
    head, found, tail = text.partition('    __syncthreads();\n')
    return head + tail if found else None


def mutated(mutant):
    text = (ROOT / mutant.file).read_text()
    if mutant.old is None:
        return drop_first_barrier(text)
    return text.replace(mutant.old, mutant.new) if text.count(mutant.old) == 1 else None


class Overlay:
    """A build folder whose files are links to the real one's, but for those made anew."""

    def __init__(self, build, folder, commands):
        self.build, self.folder, self.commands = build, folder, commands
        self.moved = {}  # path in the build folder -> path here
        for part in 'bin', 'lib', 'tests':
            for path in (build / part).rglob('*'):
                if path.is_file() and 'CMakeFiles' not in path.parts:
                    self.link(path)

    def link(self, path):
        here = self.folder / path.relative_to(self.build)
        here.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            here.symlink_to(os.readlink(path))
            return
        try:
            os.link(path, here)
        except OSError:  # another file system
            shutil.copy2(path, here)

    def output_of(self, command):
        found = re.findall(r' -o (\S+)', command) or re.findall(r'/ar qc (\S+)', command)
        return found[-1] if found else None

    def rewrite(self, command):
        command = re.sub(r' -MD| -M[TFD] \S+', '', command)
        command = re.sub(r' && \S*cmake -E cmake_transform_depfile.*', '', command)
        command = re.sub(r'(--generate-code=\S+ )+', '--generate-code=arch=compute_90,code=[sm_90] ', command)
        command = command.replace('-Werror=all-warnings', '').replace(' -Werror ', ' ')
        for old, new in self.moved.items():
            for name in (str(self.build / old), old):
                command = re.sub(r'(?<![\w/.+-])' + re.escape(name) + r'(?![\w.+-])', new, command)
        return command

    def make(self, source, changed):
        """Compiles `changed` in place of `source`, then all that needs it."""
        for command in self.commands:
            uses = re.search(r' -c ' + re.escape(str(source)) + r'(?!\S)', command)
            needs = any(re.search(r'(?<![\w/.+-])(' + re.escape(str(self.build)) + '/)?' + re.escape(old) + r'(?![\w.+-])', command)
                        for old in self.moved)
            output = self.output_of(command)
            if not output or not (uses or needs):
                continue
            relative = os.path.relpath(self.build / output, self.build)
            self.moved[relative] = str(self.folder / relative)
            target = self.folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            line = self.rewrite(command).replace(f' -c {source}', f' -c {changed}')
            done = subprocess.run(['bash', '-c', line], cwd=self.build, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f'{line}\n{done.stdout}{done.stderr}')


def run_test(name, build):
    """(caught, the sentence that tells)."""
    words = [w.format(run=ROOT / 'tests/emulation/run.sh', build=build) for w in TESTS[name]]
    log = build / 'reports'
    log.unlink(missing_ok=True)
    env = {**os.environ, 'REID_BUILD_DIR': str(build), 'REID_EMU_LOG': str(log), 'REID_EMU_DEVICES': '4'}
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return True, 'does not end'
    text = (log.read_text() if log.exists() else '') + done.stdout + done.stderr
    found = filter(None, (re.search(pattern, text) for pattern in TELLING))
    told = next(found, None)
    return done.returncode != 0, told.group(0).strip()[:150] if told else f'exit status {done.returncode}'


def sound(tests, build, commands):
    """Tests pass on the sources as they are, run as the mutants are."""
    ok = True
    with tempfile.TemporaryDirectory(prefix='planted-') as folder:
        Overlay(build, pathlib.Path(folder), commands)
        for test in tests:
            failed, told = run_test(test, pathlib.Path(folder))
            ok &= not failed
            if failed:
                print(f'BROKEN {test} fails without a planted fault: {told}')
    return ok


def try_mutant(mutant, tests, build, commands):
    text = mutated(mutant)
    if text is None:
        return False, f'{mutant.file} has changed: the row fits no longer'
    with tempfile.TemporaryDirectory(prefix='planted-') as name:
        folder = pathlib.Path(name)
        overlay = Overlay(build, folder / 'build', commands)
        changed = folder / 'src' / pathlib.Path(mutant.file).name
        changed.parent.mkdir()
        changed.write_text(text)
        try:
            overlay.make(ROOT / mutant.file, changed)
        except RuntimeError as error:
            return False, f'does not compile: {str(error)[-600:]}'
        for test in tests:
            caught, told = run_test(test, folder / 'build')
            if caught:
                return True, f'{test}: {told}'
    return False, f'not caught by {", ".join(tests)}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', type=pathlib.Path, required=True)
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    build = options.build.resolve()
    names = options.names or (SMOKE if options.smoke else [m.name for m in MUTANTS])
    unknown = set(names) - {m.name for m in MUTANTS}
    if unknown:
        parser.error(f'no such mutant: {", ".join(sorted(unknown))}')
    commands = subprocess.run(['ninja', '-C', str(build), '-t', 'commands', *TARGETS], capture_output=True, text=True, check=True)
    commands = [re.sub(r'^cd \S+ && ', '', line) for line in commands.stdout.splitlines()]
    missed = 0
    tests = {m.name: m.tests[:1] if options.smoke else m.tests for m in MUTANTS if m.name in names}
    if not sound(sorted({test for row in tests.values() for test in row}), build, commands):
        return 1
    for mutant in MUTANTS:
        if mutant.name not in names:
            continue
        start = time.monotonic()
        caught, told = try_mutant(mutant, tests[mutant.name], build, commands)
        missed += not caught
        print(f'{"caught" if caught else "MISSED"} {mutant.name:28} {time.monotonic() - start:4.0f} s  {told}', flush=True)
    print(f'{len(names)} faults planted, {missed} missed')
    return missed > 0


if __name__ == '__main__':
    sys.exit(main())
