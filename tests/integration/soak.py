#!/usr/bin/python3
"""Submits and cancels many jobs; the daemon's memory and descriptors must not grow.

    tests/integration/soak.py [--cycles N]     1,000 by default; the suite runs a few
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import common

FAKE = """#!/bin/sh
# Passes the check at once; otherwise runs until it is stopped.
case "$*" in *--check-only*) exit 0 ;; esac
trap 'exit 143' TERM
while :; do sleep 0.05; done
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cycles', type=int, default=1000)
    args = parser.parse_args()
    # A sanitizer would keep what was freed for a while, which looks like growth.
    os.environ.setdefault('ASAN_OPTIONS', 'quarantine_size_mb=1:thread_local_quarantine_size_kb=64')
    with tempfile.TemporaryDirectory(prefix='reid-') as folder:
        folder = pathlib.Path(folder)
        trainer = folder / 'trainer'
        trainer.write_text(FAKE)
        trainer.chmod(0o755)
        config = subprocess.run([common.BIN / 'reidctl', 'submit', '--dry-run', common.CONFIG], check=True,
                                capture_output=True, text=True).stdout
        (folder / 'config.yml').write_text(config)
        daemon = common.Daemon(folder / 'state', '--slots', '1', '--trainer', str(trainer))
        try:
            soak(daemon, folder / 'config.yml', args.cycles)
        finally:
            daemon.stop()


def soak(daemon, config, cycles):
    before = None
    for i in range(cycles):
        done = daemon.ctl('submit', config, 'OUTPUT_DIR', config.parent / 'out')
        assert done.returncode == 0, done.stderr
        job = done.stdout.strip()
        if i % 2 == 0:  # every other one is running when it is cancelled
            daemon.wait_state(job, ('RUNNING', 'STARTING'), 20)
        assert daemon.ctl('cancel', '--grace', '5', job).returncode == 0
        daemon.wait_state(job, ('CANCELLED',), 20)
        if i == max(4, cycles // 5):
            before = common.usage(daemon.process.pid)
    after = common.usage(daemon.process.pid)
    print(f'{cycles} cycles: {before[0]} KiB and {before[1]} descriptors after a fifth, {after[0]} and {after[1]} at the end')
    assert not common.processes_with(str(daemon.state / 'jobs')), 'processes are left'
    assert after[1] <= before[1] + 2, 'descriptors leak'
    assert after[0] <= before[0] * 1.25 + 8192, 'memory grows'


if __name__ == '__main__':
    sys.exit(main())
