#!/usr/bin/python3
"""Roles over the Unix socket, jobs that run as their submitter, limits, path rules, and what never comes to light.

Needs root: clients and jobs are users nobody, games and daemon then, as every system has them. Skipped otherwise.
"""
import grp
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

import common

# A trainer that does what OUTPUT_DIR/do says, and tells who has checked the job when there is OUTPUT_DIR/refuse.
TRAINER = '''#!/bin/sh
while [ $# -gt 0 ]; do case "$1" in --check-only) check=1;; --config-file) config="$2"; shift;; esac; shift; done
out=$(sed -n 's/^OUTPUT_DIR: *//p' "$config")
if [ -n "$check" ]; then
  [ -e "$out/refuse" ] && { echo "reid-train: checked by $(id -u):$(id -g), home $HOME" >&2; exit 2; }
  exit 0
fi
cd "$out" && exec sh ./do
'''


def skip(why):
    print(f'SKIP: {why}')
    sys.exit(77)


def account(name):
    try:
        entry = pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid
    except KeyError:
        skip(f'there is no user {name}')


def as_user(uid, gid, command, **more):
    return subprocess.run(list(map(str, command)), user=uid, group=gid, extra_groups=[], capture_output=True, text=True,
                          timeout=60 * common.PATIENCE, **more)


def open_folder():
    """A new folder that other users can pass through."""
    for place in (tempfile.gettempdir(), '/tmp', '/var/tmp'):
        folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-', dir=place))
        folder.chmod(0o755)
        if as_user(*NOBODY, ['test', '-x', folder]).returncode == 0:
            return folder
        folder.rmdir()
    skip('other users cannot come to any folder for temporary files')


if os.geteuid() != 0:
    skip('needs root')
try:
    as_user(65534, 65534, ['true'])
except OSError as refused:
    skip(f'this root cannot become another user: {refused}')
NOBODY, GAMES, DAEMON = account('nobody'), account('games'), account('daemon')
STRANGER = (54321, grp.getgrnam('nogroup').gr_gid)
OPERATORS = grp.getgrgid(NOBODY[1]).gr_name


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = open_folder()
        cls.bin = common.BIN
        if as_user(*NOBODY, ['test', '-x', common.BIN / 'reidctl']).returncode != 0:
            cls.bin = cls.folder / 'bin'
            cls.bin.mkdir()
            for name in ('reidd', 'reidd-shim', 'reidctl'):
                shutil.copy(common.BIN / name, cls.bin / name)
        cls.fake = cls.folder / 'fake'
        shutil.copy(common.BIN.parent / 'tests/reidd_fake_trainer', cls.fake)
        cls.trainer = cls.folder / 'trainer'
        cls.trainer.write_text(TRAINER)
        cls.trainer.chmod(0o755)
        common.BIN = cls.bin

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def start(self, *options, trainer=None):
        os.environ['REIDD_TEST_SECRET'] = os.environ['TOKEN_OF_ROOT'] = 'swordfish'
        state = self.folder / self.id().rsplit('.', 1)[1][5:20]
        daemon = common.Daemon(state, '--slots', '2', '--grace', '2', '--trainer', str(trainer or self.trainer),
                               '--group', grp.getgrgid(DAEMON[1]).gr_name, '--operators', OPERATORS, *options)
        self.addCleanup(self.end, daemon)
        return daemon

    def end(self, daemon):
        for job in json.loads(daemon.ctl('ps', '-o', 'json').stdout or '[]'):
            daemon.ctl('cancel', '--grace', '0', job['id'])
            daemon.wait_state(job['id'], ('SUCCEEDED', 'FAILED', 'CANCELLED'), 30)
        daemon.stop()

    def ctl(self, daemon, who, *args):
        return as_user(*who, [self.bin / 'reidctl', '-H', f'unix:{daemon.socket}', *args], cwd='/')

    def output(self, name, who, do='', fake=False):
        """An OUTPUT_DIR of that user with what the trainer shall do, and a configuration for it."""
        out = self.folder / f'{self.id().rsplit(".", 1)[1]}-{name}'
        out.mkdir()
        (out / ('script' if fake else 'do')).write_text(do)
        os.chown(out, *who)
        config = self.folder / f'{out.name}.yml'
        config.write_text(f'OUTPUT_DIR: {out}\nDATASETS:\n  ROOT: {self.folder}\n')
        return out, config

    def submit(self, daemon, who, config, *more):
        done = self.ctl(daemon, who, 'submit', '--config-file', config, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()[-1]

    def refused(self, done, sentence):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stderr, sentence)

    def mark(self, path):
        return common.wait_for(lambda: path.exists() and path.read_text().strip(), 30, f'{path.name} is there')

    # ---- roles ----

    def test_roles(self):
        daemon = self.start('--min-uid', '1')
        self.assertEqual(stat.S_IMODE(daemon.socket.stat().st_mode), 0o666)
        _, config = self.output('one', NOBODY, 'echo $$ > pid; exec sleep 600')
        job = self.submit(daemon, NOBODY, config)
        self.assertEqual(daemon.job(job)['user'], 'nobody')
        # A viewer looks, and changes nothing.
        for looks in (('ps',), ('describe', job), ('logs', job), ('nodes',), ('audit', job)):
            self.assertNotIn('role', self.ctl(daemon, DAEMON, *looks).stderr)
        self.assertIn(job, self.ctl(daemon, DAEMON, 'ps').stdout)
        for changes in (('cancel', job), ('submit', '--config-file', config), ('pause', job), ('stop', job)):
            self.refused(self.ctl(daemon, DAEMON, *changes), 'needs the role operator; user daemon is viewer')
        # One without a role does not even look.
        self.refused(self.ctl(daemon, (54321, 54321), 'ps'), 'user uid54321 has no role here')
        # An operator acts on no job but his own.
        other = (GAMES[0], NOBODY[1])
        for changes in (('cancel', job), ('pause', job), ('stop', job)):
            self.refused(self.ctl(daemon, other, *changes), f'job {job} is of user nobody: only nobody and admins may act on it')
        _, config = self.output('two', GAMES, 'exec sleep 600')
        own = self.submit(daemon, other, config)
        # All means all that he may act on; of others' one sentence, not one for each.
        self.refused(self.ctl(daemon, DAEMON, 'cancel', '--user', 'nobody'), "^reidctl: .*needs the role operator; user daemon is viewer\n$")
        self.refused(self.ctl(daemon, other, 'cancel', '--user', 'nobody'), f'^reidctl: job {job} is of user nobody: .*\n$')
        self.assertEqual(self.ctl(daemon, other, 'cancel', '--all').stdout, f'{own} is being cancelled\n1 job cancelled\n')
        daemon.wait_state(own, ('CANCELLED',), 30)
        own = self.submit(daemon, other, config)
        self.assertEqual(self.ctl(daemon, other, 'cancel', own).returncode, 0)
        daemon.wait_state(own, ('CANCELLED',), 30)
        self.assertEqual(daemon.ctl('cancel', job).returncode, 0)  # root's role is admin
        daemon.wait_state(job, ('CANCELLED',), 30)

    def test_usage_of_removed_jobs(self):
        """Fair share is the same before and after a restart, when the jobs that used the slots were removed."""
        other = (GAMES[0], NOBODY[1])
        daemon = self.start('--min-uid', '1', '--fair-share', '1')
        _, short = self.output('short', NOBODY, 'sleep 1')
        job = self.submit(daemon, NOBODY, short)
        daemon.wait_state(job, ('SUCCEEDED',), 30)
        self.assertEqual(self.ctl(daemon, NOBODY, 'rm', job).returncode, 0)
        common.wait_for(lambda: not (daemon.state / 'jobs' / job).exists(), 30, f'{job} is deleted')
        for restart in (False, True):
            if restart:
                daemon.stop()
                daemon.start()
            _, config = self.output(f'long{restart}', (0, 0), 'exec sleep 600')
            blockers = [daemon.ctl('submit', '--config-file', config).stdout.split()[-1] for _ in range(2)]
            configs = [(who, self.output(f'{name}{restart}', who, 'true')[1]) for name, who in (('one', NOBODY), ('two', GAMES))]
            ours, theirs = self.submit(daemon, NOBODY, configs[0][1]), self.submit(daemon, other, configs[1][1])
            common.wait_for(lambda: [daemon.job(j).get('queue_position') for j in (theirs, ours)] == [1, 2], 30, 'the user of less is first')
            for ended in (ours, theirs, *blockers):
                daemon.ctl('cancel', '--grace', '0.1', ended)
                daemon.wait_state(ended, ('CANCELLED',), 30)

    # ---- whose processes they are ----

    def test_runs_as_its_submitter(self):
        daemon = self.start()
        out, config = self.output('one', NOBODY, 'env > env; echo $$ > pid; echo hello; exec sleep 600')
        job = self.submit(daemon, NOBODY, config)
        pid = int(self.mark(out / 'pid'))
        self.assertEqual((out / 'pid').stat().st_uid, NOBODY[0])
        attempt = daemon.state / 'jobs' / job / 'attempt-1'
        shim = json.loads((attempt / 'shim.json').read_text())['pid']
        for process in (pid, shim):
            status = pathlib.Path(f'/proc/{process}/status').read_text()
            self.assertRegex(status, rf'Uid:\t({NOBODY[0]}\t?){{4}}\n')
            self.assertRegex(status, rf'Gid:\t({NOBODY[1]}\t?){{4}}\n')
            self.assertRegex(status, r'NoNewPrivs:\t1')
            self.assertRegex(status, r'CapEff:\t0+\n')
            self.assertNotRegex(status, r'Groups:\t(.*\b)?0\b')
        environment = (out / 'env').read_text()
        self.assertIn('USER=nobody\n', environment)
        self.assertNotIn('swordfish', environment)
        # The folder is the user's; what leads to it shows nothing to others; the configuration is not his to change.
        for path, uid, mode in ((attempt, NOBODY[0], 0o700), (attempt / 'logs', NOBODY[0], 0o700), (attempt / 'shim.lock', NOBODY[0], 0o600),
                                (attempt.parent, 0, 0o710), (attempt.parent / 'config.yaml', 0, 0o640),
                                (daemon.state / 'jobs', 0, 0o711), (daemon.state / 'reidd.db', 0, 0o600)):
            self.assertEqual((path.stat().st_uid, oct(stat.S_IMODE(path.stat().st_mode))), (uid, oct(mode)), path)
        self.assertNotEqual(as_user(*GAMES, ['cat', attempt.parent / 'config.yaml']).returncode, 0)
        self.assertEqual(as_user(*NOBODY, ['test', '-r', attempt.parent / 'config.yaml']).returncode, 0)
        if (attempt.parent / 'config.yaml').stat().st_gid == 0:  # the file system has access lists: his group is not let in
            self.assertNotEqual(as_user(GAMES[0], NOBODY[1], ['cat', attempt.parent / 'config.yaml']).returncode, 0)
        self.assertNotEqual(as_user(*GAMES, ['ls', daemon.state / 'jobs']).returncode, 0)
        # A daemon that comes back finds the job, and ends it.
        daemon.kill()
        daemon.start()
        self.assertEqual(self.ctl(daemon, NOBODY, 'logs', job).stdout, 'hello\n')
        self.assertEqual(self.ctl(daemon, NOBODY, 'cancel', job).returncode, 0)
        daemon.wait_state(job, ('CANCELLED',), 30)
        self.assertFalse(common.alive(pid) or common.alive(shim))
        self.assertEqual(common.processes_with(f'REIDD_ATTEMPT_DIR={attempt}'), [])
        # Root's own jobs stay root's.
        out, config = self.output('two', (0, 0), 'id -u > uid')
        done = daemon.ctl('submit', '--config-file', config)
        self.assertEqual(done.returncode, 0, done.stderr)
        daemon.wait_state(done.stdout.split()[-1], ('SUCCEEDED',), 30)
        self.assertEqual((out / 'uid').read_text(), '0\n')

    def test_ranks_of_a_user_reach_the_daemon(self):
        daemon = self.start(trainer=self.fake)
        out, config = self.output('one', NOBODY, fake=True, do='link\nphase 2\n0:rows 3\n0:last-row\nmark up\nwait go\nexit 0\n')
        job = self.submit(daemon, NOBODY, config, '-n', str(common.RANKS))
        daemon.wait_state(job, ('RUNNING',), 60)
        self.mark(out / 'up')
        common.wait_for(lambda: len(daemon.rows(job)) == 3, 30, 'the rows are there')
        ticket = self.ticket(job)
        (out / 'go').touch()
        daemon.wait_state(job, ('SUCCEEDED',), 60)
        self.assertEqual(len(daemon.rows(job)), 3)
        self.never_shown(daemon, ticket, job)

    def test_who_cannot_run_jobs(self):
        daemon = self.start()
        _, config = self.output('one', GAMES, 'true')
        self.refused(self.ctl(daemon, (GAMES[0], NOBODY[1]), 'submit', '--config-file', config),
                     rf'no job runs as user games: its uid {GAMES[0]} is below 1000 \(--min-uid\)')
        self.refused(self.ctl(daemon, STRANGER, 'submit', '--config-file', config),
                     'there is no account with uid 54321 on this node for the job to run as')
        self.assertEqual(list((daemon.state / 'jobs').iterdir()), [])

    def test_checked_by_its_submitter(self):
        daemon = self.start()
        out, config = self.output('one', NOBODY)
        (out / 'refuse').touch()
        self.refused(self.ctl(daemon, NOBODY, 'submit', '--config-file', config),
                     f'checked by {NOBODY[0]}:{NOBODY[1]}, home {pwd.getpwuid(NOBODY[0]).pw_dir}')

    def test_a_daemon_that_is_not_root(self):
        """All jobs are its own user's; who has submitted them is remembered all the same."""
        state = self.folder / 'unprivileged'
        state.mkdir()
        os.chown(state, *NOBODY)
        log = open(self.folder / 'unprivileged.log', 'wb')
        self.addCleanup(log.close)
        process = subprocess.Popen([self.bin / 'reidd', '--state-dir', state, '--socket', f'unix:{state}/reidd.sock', '--slots', '2',
                                    '--trainer', self.trainer, '--operators', grp.getgrgid(GAMES[1]).gr_name],
                                   user=NOBODY[0], group=NOBODY[1], extra_groups=[], stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        state.chmod(0o755)

        def ctl(who, *args):
            return as_user(*who, [self.bin / 'reidctl', '-H', f'unix:{state}/reidd.sock', *args], cwd='/')
        common.wait_for(lambda: ctl(NOBODY, 'version').returncode == 0, 20, 'reidd answers')
        out, config = self.output('one', NOBODY, 'id -u > uid; exec sleep 600')
        out.chmod(0o777)
        done = ctl(GAMES, 'submit', '--config-file', config)
        self.assertEqual(done.returncode, 0, done.stderr)
        job = done.stdout.split()[-1]
        self.assertEqual(self.mark(out / 'uid'), str(NOBODY[0]))
        self.assertEqual(json.loads(ctl(GAMES, 'describe', job, '-o', 'json').stdout)['user'], 'games')
        self.refused(ctl((DAEMON[0], GAMES[1]), 'cancel', job), 'only games and admins may act on it, not daemon')
        self.refused(ctl(STRANGER, 'ps'), 'has no role here')
        self.assertEqual(json.loads(ctl((0, 0), 'info', '-o', 'json').stdout)['role'], 'admin')
        self.assertEqual(ctl(NOBODY, 'cancel', '--grace', '0', job).returncode, 0)  # the daemon's own user is an admin
        common.wait_for(lambda: 'CANCELLED' in ctl(GAMES, 'ps', '-a').stdout, 30, 'the job is cancelled')

    # ---- limits, places ----

    def test_limits_of_a_user(self):
        daemon = self.start('--max-user-jobs', '2', '--max-submissions', '4', '--max-user-subscribers', '1', '--slots', '1')
        out, config = self.output('one', NOBODY, 'echo up; touch up; exec sleep 600')
        jobs = [self.submit(daemon, NOBODY, config) for _ in range(2)]
        self.refused(self.ctl(daemon, NOBODY, 'submit', '--config-file', config), 'user nobody has 2 jobs that have not ended, which is the limit')
        self.assertEqual(self.ctl(daemon, NOBODY, 'cancel', jobs[1]).returncode, 0)
        jobs[1] = self.submit(daemon, NOBODY, config)
        self.refused(self.ctl(daemon, NOBODY, 'submit', '--config-file', config), 'user nobody has submitted more than 4 times within a minute')
        for _ in range(5):  # an admin has no such limits
            done = daemon.ctl('submit', '--config-file', config)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.mark_up(out)
        follow = subprocess.Popen([self.bin / 'reidctl', '-H', f'unix:{daemon.socket}', 'logs', '-f', jobs[0]], user=NOBODY[0], group=NOBODY[1],
                                  extra_groups=[], stdout=subprocess.PIPE, text=True)
        self.addCleanup(follow.stdout.close)
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        self.assertIn('up', follow.stdout.readline())  # so its stream is open
        self.refused(self.ctl(daemon, NOBODY, 'logs', jobs[0]), 'user nobody has 1 streams open already, which is the limit')
        self.assertEqual(self.ctl(daemon, DAEMON, 'logs', jobs[0]).returncode, 0)
        told = json.loads(self.ctl(daemon, NOBODY, 'info', '-o', 'json').stdout)
        self.assertEqual((told['user'], told['role']), ('nobody', 'operator'))
        limits = {row['option']: row for row in told['limits']}
        self.assertEqual((limits['--max-user-jobs']['value'], limits['--max-user-jobs']['default']), (2, 1000))
        usage = subprocess.run([self.bin / 'reidd', '--help'], capture_output=True, text=True).stdout
        for option, row in limits.items():
            self.assertIn(f'{option} N', usage)
            self.assertIn(row['of'], usage)

    def mark_up(self, out):
        common.wait_for((out / 'up').exists, 30, 'the job runs')

    def test_a_large_configuration(self):
        daemon = self.start('--max-config-bytes', '1024')
        _, config = self.output('one', NOBODY)
        self.refused(self.ctl(daemon, NOBODY, 'submit', '--config-file', config), 'the configuration is larger than 1 KiB')
        self.refused(daemon.ctl('submit', '--config-file', config), 'the configuration is larger than 1 KiB')

    def test_places(self):
        daemon = self.start('--output-roots', f'{self.folder}/allowed', '--data-roots', f'{self.folder}/data:/none')
        for name in ('allowed', 'data', 'other'):
            (self.folder / name).mkdir(mode=0o777)
            (self.folder / name).chmod(0o777)
        (self.folder / 'allowed/link').symlink_to(self.folder / 'other')

        def attempt(output, data, sentence):
            config = self.folder / 'places.yml'
            config.write_text(f'OUTPUT_DIR: {output}\nDATASETS:\n  ROOT: {data}\n')
            self.refused(self.ctl(daemon, NOBODY, 'submit', '--config-file', config), sentence)

        attempt(self.folder / 'other/x', self.folder / 'data', "OUTPUT_DIR '.*/other/x' is outside of what reidd allows")
        attempt(self.folder / 'allowed/link/x', self.folder / 'data', 'OUTPUT_DIR .* is outside of what reidd allows')
        attempt(f'{self.folder}/allowed/x/../../other', self.folder / 'data', 'OUTPUT_DIR .* is outside of what reidd allows')
        attempt(self.folder / 'allowed/x', self.folder / 'other', 'DATASETS.ROOT .* is outside of what reidd allows')
        out = self.folder / 'allowed/x'
        out.mkdir()
        (out / 'do').write_text('true')
        os.chown(out, *NOBODY)
        config = self.folder / 'places.yml'
        config.write_text(f'OUTPUT_DIR: {out}\nDATASETS:\n  ROOT: {self.folder}/data\n')
        daemon.wait_state(self.submit(daemon, NOBODY, config), ('SUCCEEDED',), 30)
        # Native hooks come from where nobody else can put them.
        (self.folder / 'hooks').mkdir()
        os.chown(self.folder / 'hooks', *NOBODY)
        done = subprocess.run([self.bin / 'reidd', '--state-dir', self.folder / 'unused', '--hook-dir', self.folder / 'hooks'],
                              capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "--hook-dir '.*/hooks' belongs to uid .*, but must be root's or reidd's own")

    # ---- a user who means harm ----

    def test_links_lead_nowhere(self):
        secret = self.folder / 'secret'
        secret.write_text('swordfish of root\n' * 10)
        secret.chmod(0o600)
        victim = subprocess.Popen(['sleep', '600'])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        start = pathlib.Path(f'/proc/{victim.pid}/stat').read_text().rsplit(')', 1)[1].split()[19]
        daemon = self.start()
        out, config = self.output('one', NOBODY, f'''
here=$PWD
cd "$REIDD_ATTEMPT_DIR"
rm -f logs/rank-0.err; ln -s {secret} logs/rank-0.err
mv logs/rank-0.out logs/old; ln {secret} logs/rank-0.out 2>/dev/null || ln -s {secret} logs/rank-0.out
mkdir failures 2>/dev/null; ln -s {secret} failures/rank-0.json
mkfifo outcome.json
sed 's/"pid": *[0-9]*/"pid": {victim.pid}/; s/"start_time": *[0-9]*/"start_time": {start}/; s#"shm_dir": *"[^"]*"#"shm_dir": "/dev/shm/reidd-x/.."#' \
    shim.json > s && mv s shim.json
cp shim.json "$here/shim.json"
touch "$here/done"
exec sleep 600
''')
        job = self.submit(daemon, NOBODY, config)
        common.wait_for((out / 'done').exists, 30, 'the harm is done')
        self.assertEqual(json.loads((out / 'shim.json').read_text())['pid'], victim.pid)
        for show in (('logs', job), ('describe', job), ('logs', '--tail', '5', job)):
            done = self.ctl(daemon, NOBODY, *show)
            self.assertNotIn('swordfish', done.stdout + done.stderr)
        self.assertEqual(self.ctl(daemon, NOBODY, 'cancel', '--grace', '0', job).returncode, 0)
        time.sleep(1)  # what must not happen has no condition to wait for
        self.assertIsNone(victim.poll())
        self.assertEqual(daemon.ctl('ps').returncode, 0)  # and it still answers
        for pid in common.processes_with(f'REIDD_ATTEMPT_DIR={daemon.state}'):
            os.kill(pid, signal.SIGKILL)
        daemon.wait_state(job, ('CANCELLED', 'FAILED'), 30)
        self.assertNotIn('swordfish', self.ctl(daemon, NOBODY, 'describe', job).stdout)
        self.assertTrue(pathlib.Path('/dev/shm').is_dir() and secret.exists())

    # ---- the service ----

    def unit(self, key):
        """The value of a setting in the systemd unit."""
        text = (common.ROOT / 'deploy/systemd/reidd.service').read_text()
        return re.search(rf'^{key}=(.*)$', text, re.M).group(1)

    def test_the_capabilities_of_the_service_suffice(self):
        if not shutil.which('setpriv'):
            self.skipTest('there is no setpriv')
        capped = self.folder / 'capped'
        capped.mkdir()
        bounds = ','.join('+' + name[len('CAP_'):].lower() for name in self.unit('CapabilityBoundingSet').split())
        (capped / 'reidd').write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all,{bounds} --inh-caps=-all --no-new-privs {self.bin}/reidd "$@"\n')
        (capped / 'reidd').chmod(0o755)
        (capped / 'reidctl').symlink_to(self.bin / 'reidctl')
        whole, common.BIN = common.BIN, capped
        self.addCleanup(setattr, common, 'BIN', whole)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.folder / 'notify'))
            notify.settimeout(30 * common.PATIENCE)
            os.environ['NOTIFY_SOCKET'] = str(self.folder / 'notify')
            try:
                daemon = self.start()
            finally:
                del os.environ['NOTIFY_SOCKET']
            self.assertEqual(notify.recv(100), b'READY=1')
        status = pathlib.Path(f'/proc/{daemon.process.pid}/status').read_text()
        self.assertNotRegex(status, r'CapEff:\t0*1f*\n')
        out, config = self.output('one', NOBODY, 'id -u > uid; env > env; sh -c "exec sleep 600" & exec sleep 600')
        job = self.submit(daemon, NOBODY, config)
        self.mark(out / 'uid')
        self.assertNotIn('NOTIFY_SOCKET', common.wait_for(lambda: (out / 'env').exists() and (out / 'env').read_text(), 30, 'env'))
        attempt = daemon.state / 'jobs' / job / 'attempt-1'
        # Its supervisor dies: the daemon finds and ends what is left.
        os.kill(json.loads((attempt / 'shim.json').read_text())['pid'], signal.SIGKILL)
        daemon.wait_state(job, ('FAILED',), 30)
        self.assertEqual(common.processes_with(f'REIDD_ATTEMPT_DIR={attempt}'), [])

    def test_the_unit_is_sound(self):
        if not shutil.which('systemd-analyze'):
            self.skipTest('there is no systemd-analyze')
        unit = self.folder / 'reidd.service'
        unit.write_text((common.ROOT / 'deploy/systemd/reidd.service').read_text().replace('/usr/bin/reidd', str(self.bin / 'reidd')))
        done = subprocess.run(['systemd-analyze', 'verify', unit], capture_output=True, text=True, timeout=60)
        self.assertEqual([line for line in (done.stdout + done.stderr).splitlines() if 'reidd.service' in line], [])
        # Its options are those that there are.
        known = subprocess.run([self.bin / 'reidd', '--help'], capture_output=True, text=True).stdout
        for option in re.findall(r' (--[a-z-]+)', self.unit('ExecStart')):
            self.assertIn(f'  {option} ', known)

    # ---- secrets ----

    def ticket(self, job):
        for pid in common.processes_with(f'REIDD_JOB={job}'):
            found = re.search(rb'REIDD_TICKET=(\w+)', pathlib.Path(f'/proc/{pid}/environ').read_bytes())
            if found:
                self.assertEqual(stat.S_IMODE(os.stat(f'/proc/{pid}/environ').st_mode), 0o400)
                return found.group(1).decode()
        raise AssertionError('no rank has a ticket')

    def never_shown(self, daemon, secret, job):
        texts = {'the log': (daemon.state / 'reidd.log').read_text()}
        for command in (('describe', job), ('describe', job, '-o', 'json'), ('ps', '-o', 'json'), ('logs', job), ('info',)):
            texts[' '.join(command)] = daemon.ctl(*command).stdout
        for path in (daemon.state / 'jobs').rglob('*'):
            if path.is_file():
                texts[str(path)] = path.read_bytes().decode('latin-1')
        for name, text in texts.items():
            self.assertNotIn(secret, text, name)
        for entry in pathlib.Path('/proc').iterdir():
            try:
                if entry.name.isdigit():
                    self.assertNotIn(secret.encode(), (entry / 'cmdline').read_bytes(), entry)
            except OSError:
                pass


if __name__ == '__main__':
    common.main()
