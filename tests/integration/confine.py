#!/usr/bin/python3
"""Nothing of a job gets away: processes that hide, and that outlive their supervisor, end with their control group.

Needs control groups of version 2 in which reidd may make others (root, or a delegated unit). Skipped otherwise.
"""
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import common

# Forks twice, in a session of its own, with an empty environment; then it kills its supervisor.
ESCAPE = '''
( ( setsid env -i PATH="$PATH" sh -c 'echo $$ > escaped; sh -c "echo \\$\\$ > again; exec sleep 600" & exec sleep 600' </dev/null >/dev/null 2>&1 & ) )
while ! [ -s again ]; do sleep 0.05; done
%s
exec sleep 600
'''
KILL = 'kill -9 $(sed -n \'s/.*"pid": *\\([0-9]*\\).*/\\1/p\' "$REIDD_ATTEMPT_DIR/shim.json")'
TRAINER = '''#!/bin/sh
while [ $# -gt 0 ]; do case "$1" in --check-only) exit 0;; --config-file) config="$2"; shift;; esac; shift; done
cd "$(sed -n 's/^OUTPUT_DIR: *//p' "$config")" && exec sh ./do
'''


# What is left takes the dead supervisor's lock, as if that was still there.
TAKE_LOCK = 'flock "$REIDD_ATTEMPT_DIR/shim.lock" sleep 600 &\n'


class Confine(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        trainer = self.folder / 'trainer'
        trainer.write_text(TRAINER)
        trainer.chmod(0o755)
        self.daemon = common.Daemon(self.folder / 'state', '--slots', '2', '--trainer', str(trainer), '--admins', 'nogroup')
        self.addCleanup(self.end)
        told = json.loads(self.daemon.ctl('info', '-o', 'json').stdout)['confinement']
        found = re.search("control group of its own in '(.*)'", told)
        if not found:
            print(f'SKIP: {told}')
            sys.exit(77)
        state = (self.folder / 'state').stat()
        self.groups, self.prefix = pathlib.Path(found.group(1)), f'reidd-{state.st_dev:x}-{state.st_ino:x}.'

    def end(self):
        for job in json.loads(self.daemon.ctl('ps', '-o', 'json').stdout or '[]'):
            self.daemon.ctl('cancel', '--grace', '0', job['id'])
            self.daemon.wait_state(job['id'], ('SUCCEEDED', 'FAILED', 'CANCELLED'), 30)
        self.daemon.stop()
        common.wait_for(lambda: not self.left(), 10, 'no control group is left')

    def left(self):
        return [group.name for group in self.groups.glob(self.prefix + '*')]

    def submit(self, name, do, user=None):
        out = self.folder / name
        out.mkdir()
        (out / 'do').write_text(do)
        config = self.folder / f'{name}.yml'
        config.write_text(f'OUTPUT_DIR: {out}\nDATASETS:\n  ROOT: {self.folder}\n')
        who = {}
        if user:
            os.chown(out, user.pw_uid, user.pw_gid)
            who = {'user': user.pw_uid, 'group': user.pw_gid, 'extra_groups': []}
        done = subprocess.run([common.BIN / 'reidctl', '-H', f'unix:{self.daemon.socket}', 'submit', '--config-file', config],
                              capture_output=True, text=True, cwd='/', **who)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out, done.stdout.split()[-1]

    def pids(self, out):
        return [int(common.wait_for(lambda: (out / name).exists() and (out / name).read_text().strip(), 30, f'{name} is there'))
                for name in ('escaped', 'again')]

    def gone(self, pids):
        common.wait_for(lambda: not any(common.alive(pid) for pid in pids), 5, 'what has escaped is gone')

    def users(self):
        """The daemon's own, and, where it is root, somebody who may pass to its folders."""
        yield None
        nobody = pwd.getpwnam('nobody')
        if os.geteuid() == 0 and subprocess.run(['test', '-x', common.BIN / 'reidctl'], user=nobody.pw_uid, group=nobody.pw_gid,
                                                extra_groups=[]).returncode == 0:
            yield nobody

    def test_escape(self):
        for user in self.users():
            out, job = self.submit(f'of-{user.pw_name if user else "self"}', ESCAPE % (TAKE_LOCK + KILL), user)
            pids = self.pids(out)
            self.gone(pids)
            self.assertIn('supervisor was killed', self.daemon.wait_state(job, ('FAILED',), 30)['failure']['sentence'])
            common.wait_for(lambda: not self.left(), 10, 'no control group is left')

    def test_escape_while_reidd_is_away(self):
        out, job = self.submit('away', ESCAPE % ('while ! [ -e go ]; do sleep 0.05; done; ' + KILL))
        pids = self.pids(out)
        lines = [pathlib.Path(f'/proc/{pid}/cgroup').read_text().splitlines() for pid in pids]
        self.assertTrue(all(any(line.endswith(f'/{self.prefix}{job}.1') for line in group) for group in lines), lines)
        self.daemon.kill()
        (out / 'go').touch()
        shim = json.loads((self.daemon.state / 'jobs' / job / 'attempt-1/shim.json').read_text())['pid']
        common.wait_for(lambda: not common.alive(shim), 30, 'the supervisor is killed')
        # What nobody knows of any more is ended as well.
        stray = self.groups / f'{self.prefix}zzzz.1'
        stray.mkdir()
        lost = subprocess.Popen(['sleep', '600'])
        (stray / 'cgroup.procs').write_text(str(lost.pid))
        self.assertTrue(all(map(common.alive, pids)))
        self.daemon.start()
        self.gone(pids)
        self.assertEqual(lost.wait(30), -signal.SIGKILL)
        self.daemon.wait_state(job, ('FAILED',), 30)
        common.wait_for(lambda: not self.left(), 10, 'no control group is left')

    def test_jobs_outlive_reidd(self):
        out, job = self.submit('stays', 'echo $$ > escaped; exec sleep 600')
        pid = int(common.wait_for(lambda: (out / 'escaped').exists() and (out / 'escaped').read_text().strip(), 30, 'it runs'))
        self.daemon.stop()
        self.daemon.start()
        self.assertTrue(common.alive(pid))
        self.assertEqual(self.left(), [f'{self.prefix}{job}.1'])


if __name__ == '__main__':
    common.main()
