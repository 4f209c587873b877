#!/usr/bin/python3
"""kill -9 of every process of reidd at random moments, round after round; nothing acknowledged may be lost.

    tests/soak/killer.py [--rounds N] [--seed S] [--real | --nodes] [--keep]

The jobs are scripted trainers (tests/unit/daemon/fake), or with --real trainings of a small network that must end with the same bits
as one that nobody has touched; with --nodes on three nodes (tests/cluster/hosts.py), whose cables are cut, too. Each round picks one way of killing (WAYS); then, and at the end, the invariants are checked:

- a job whose submission was acknowledged is there, and one that has ended stays as it ended; all jobs come to a good end
- a scalar that reidd has acknowledged, or shown, or that a rank has written, is there, once, and in order; so is each line of a log
- no attempt begins anew when there is a checkpoint to go on from
- slots used are those of the jobs that run, and in the end none; no process and no folder in /dev/shm is left
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'integration'))
import common  # noqa: E402

FINAL = ('SUCCEEDED', 'FAILED', 'CANCELLED')
# Deadlines are short, so that stopped processes are found; a job that is late only because the machine is busy restarts, too.
OPTIONS = ('--slots', '3', '--grace', '2', '--start-timeout', '20', '--loading-timeout', '20', '--step-timeout', '6',
           '--saving-timeout', '20', '--stall-notice', '3', '--max-submissions', '1000000')


class Broken(Exception):
    """An invariant does not hold."""


def check(truth, sentence):
    if not truth:
        raise Broken(sentence)


def read_number(path):
    try:
        return int(path.read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return 0


def environ(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/environ').read_bytes()
    except OSError:
        return b''


def command(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    except OSError:
        return [b'']


def send(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


class Job:
    """What is expected of one job."""

    def __init__(self, name, ranks, out, iterations):
        self.name, self.ranks, self.out, self.iterations = name, ranks, out, iterations
        self.id = None           # once acknowledged
        self.cancelled = False   # by us
        self.final = None        # state, exit code: once seen
        self.seen = {}           # attempt: rows that a client was shown


class World:
    RANKS = (1, 1, common.RANKS)
    PATIENCE_S = 180  # for the end

    def __init__(self, folder, seed):
        self.folder = pathlib.Path(folder)
        self.random = random.Random(seed)
        self.jobs = []
        self.counts = {}
        self.daemon = None
        self.readers = []

    # ---- the programs ----

    def start(self):
        self.daemon = common.Daemon(self.folder / 's', *OPTIONS, *self.trainer_options())

    def revive(self):
        """reidd is running again; sometimes it is killed in the middle of its start, too."""
        if self.daemon.process.poll() is None:
            return
        while self.random.random() < 0.3:
            log = open(self.daemon.state / 'reidd.log', 'ab')
            half = subprocess.Popen(self.daemon_command(), stdout=log, stderr=log)
            time.sleep(self.random.uniform(0, 0.1))
            send(half.pid)
            half.wait()
            log.close()
        self.daemon.start()

    def daemon_command(self):
        return [str(common.BIN / 'reidd'), '--state-dir', str(self.daemon.state), '--socket', f'unix:{self.daemon.socket}',
                *self.daemon.options]

    def processes(self):
        """Of all jobs: (kind, pid)."""
        mark = f'REIDD_ATTEMPT_DIR={self.daemon.state}'.encode()
        found = []
        for entry in pathlib.Path('/proc').iterdir():
            if not entry.name.isdigit():
                continue
            pid = int(entry.name)
            if mark not in environ(pid) or not common.alive(pid):
                continue
            words = command(pid)
            name = os.path.basename(words[0]).decode()
            if name == 'reidd-shim':
                name = 'wrapper' if b'--rank-exec' in words else 'shim'
            elif name not in ('mpirun', 'orted'):
                name = 'rank'
            found.append((name, pid))
        return found

    def pick(self, kind):
        pids = [pid for name, pid in self.processes() if name == kind]
        return self.random.choice(pids) if pids else None

    def keep(self):
        """What a failed run leaves to be looked at is in the folder."""

    def close(self):
        pass

    # ---- jobs ----

    def submit(self):
        job = self.new_job(f'k{len(self.jobs)}', self.random.choice(self.RANKS))
        self.jobs.append(job)
        words = ['submit', '--name', job.name, '-n', job.ranks, '--max-restarts', '1000', '--restart-backoff', '0.001',
                 *self.job_words(job)]
        if self.random.random() < 0.2:  # somebody is killed while it is being submitted
            process = subprocess.Popen([str(common.BIN / 'reidctl'), '-H', f'unix:{self.daemon.socket}', *map(str, words)],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            time.sleep(self.random.uniform(0, 0.12))
            if self.random.random() < 0.5:
                send(process.pid)
                self.count('reidctl')
            else:
                self.daemon.kill()
                self.count('reidd at a submission')
            text = process.communicate(timeout=60 * common.PATIENCE)[0]
            job.id = text.split()[-1] if process.returncode == 0 else None
            self.revive()
        else:
            done = self.daemon.ctl(*words)
            check(done.returncode == 0, f'{job.name} was refused: {done.stderr}')
            job.id = done.stdout.split()[-1]

    def list(self):
        done = self.daemon.ctl('ps', '-a', '--limit', 100000, '-o', 'json')
        check(done.returncode == 0, f'ps: {done.stderr}')
        return {entry['name']: entry for entry in json.loads(done.stdout)}

    def live(self, listed):
        return [j for j in self.jobs if j.name in listed and listed[j.name]['state'] not in FINAL]

    # ---- ways of killing ----

    def count(self, kind):
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def kill_one(self, kind, number=signal.SIGKILL):
        pid = self.pick(kind)
        if pid and send(pid, number):
            self.count(kind if number == signal.SIGKILL else f'{kind} stopped')

    def kill_daemon(self):
        self.daemon.kill()
        self.count('reidd')
        time.sleep(self.random.choice((0, 0, 0.1, 0.5)))

    def end_daemon(self):
        self.daemon.process.terminate()
        check(self.daemon.process.wait(20 * common.PATIENCE) == 0, 'reidd did not end well at TERM')
        self.count('reidd ended')

    def kill_daemon_and(self, kind):
        self.kill_daemon()
        self.kill_one(kind)

    def kill_all(self):
        self.daemon.kill()
        for _, pid in self.processes():
            send(pid)
        self.count('everything')

    def kill_job(self):
        """All processes of one job."""
        marks = [re.search(rb'REIDD_JOB=(\w+)', environ(pid)) for _, pid in self.processes()]
        ids = sorted({m.group(0) for m in marks if m})
        if not ids:
            return
        mark = self.random.choice(ids) + b'\0'
        for _, pid in self.processes():
            if mark in environ(pid):
                send(pid)
        self.count('a whole job')

    def cancel(self):
        live = self.live(self.list())
        if not live:
            return
        job = self.random.choice(live)
        job.cancelled = True
        self.daemon.ctl('cancel', '--grace', '1', job.name)
        if self.random.random() < 0.5:
            self.kill_daemon()
        self.count('cancel')

    def kill_reader(self):
        """Clients that follow come and go."""
        live = self.live(self.list())
        if live:
            word = self.random.choice((['watch'], ['logs', '-f'], ['metrics', '-f'], ['events', '-f']))
            self.readers.append(subprocess.Popen(
                [str(common.BIN / 'reidctl'), '-H', f'unix:{self.daemon.socket}', *word, self.random.choice(live).name],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        if len(self.readers) > 4:
            reader = self.readers.pop(0)
            reader.kill()
            reader.wait()
            self.count('a reader')

    WAYS = [(4, kill_daemon), (1, end_daemon), (1, kill_all), (1, kill_job), (1, cancel), (1, kill_reader),
            *[(2, lambda w, kind=kind: w.kill_one(kind)) for kind in ('shim', 'mpirun', 'wrapper', 'rank')],
            *[(1, lambda w, kind=kind: w.kill_daemon_and(kind)) for kind in ('shim', 'mpirun', 'rank')],
            *[(0.3, lambda w, kind=kind: w.kill_one(kind, signal.SIGSTOP)) for kind in ('shim', 'mpirun', 'wrapper', 'rank')]]

    def round(self):
        listed = self.list()
        while len(self.live(listed)) < 4:
            self.submit()
            listed = self.list()
        time.sleep(self.random.choice((0, 0.02, 0.1, 0.3, 0.6)) * self.random.random())
        ways = self.WAYS
        way = self.random.choices([w for _, w in ways], [n for n, _ in ways])[0]
        way(self)
        self.revive()
        self.check_now()

    # ---- invariants ----

    def check_jobs(self, listed):
        names = {j.name: j for j in self.jobs}
        for name in listed:
            check(name in names, f'a job that nobody has submitted: {name}')
        for job in self.jobs:
            entry = listed.get(job.name)
            check(entry or not job.id, f'{job.name} ({job.id}) was acknowledged and is gone')
            if not entry:
                continue
            check(not job.id or job.id == entry['id'], f'{job.name} was {job.id} and is {entry["id"]}')
            end = (entry['state'], entry.get('exit_code'))
            check(not job.final or job.final == end, f'{job.name} had ended with {job.final} and is {end}')
            if entry['state'] in FINAL:
                job.final = end
                check(entry['state'] == 'SUCCEEDED' or (entry['state'] == 'CANCELLED' and job.cancelled),
                      f'{job.name} is {entry["state"]}: {entry.get("failure") or entry.get("detail")}')

    def rows(self, job):
        """Rows by attempt, each without a gap."""
        rows = {}
        for row in self.daemon.rows(job.name):
            rows.setdefault(row['attempt'], []).append(row)
        for attempt, some in rows.items():
            seqs = [r['seq'] for r in some]
            check(seqs == list(range(1, len(seqs) + 1)), f'{job.name}: attempt {attempt} has rows {seqs[:3]}…{seqs[-3:]} of {len(seqs)}')
            iterations = [r['iteration'] for r in some if 'total_loss' in r['metrics']]
            check(iterations == list(range(iterations[0], iterations[0] + len(iterations))) if iterations else True,
                  f'{job.name}: attempt {attempt} has iterations {iterations}')
        return rows

    def check_rows(self, job):
        before = dict(job.seen)
        stored = {a: read_number(job.out / f'stored-{a}') for a in job.seen}
        rows = self.rows(job)
        for attempt in set(before) | set(stored):
            have = len(rows.get(attempt, []))
            check(have >= before.get(attempt, 0), f'{job.name}: attempt {attempt} had {before.get(attempt)} rows and has {have}')
            check(have >= stored.get(attempt, 0), f'{job.name}: {stored[attempt]} rows of attempt {attempt} were acknowledged, {have} are there')
        job.seen = {attempt: len(some) for attempt, some in rows.items()}
        return rows

    def check_slots(self):
        for _ in range(20):  # two looks are not one
            before, done, after = self.list(), self.daemon.ctl('nodes', '-o', 'json'), self.list()
            states = [{n: e['state'] for n, e in part.items()} for part in (before, after)]
            if states[0] == states[1]:
                break
        else:
            return
        nodes = json.loads(done.stdout)
        used = sum(e['ranks'] for e in after.values() if e['state'] in ('STARTING', 'RUNNING'))
        told = sum(n['slots_used'] for n in nodes)
        check(told == used, f'{told} slots are used, by jobs of {used} ranks')
        for node in nodes:
            check(node['slots_used'] <= node['slots'], f'{node["slots_used"]} of {node["slots"]} slots of {node["name"]} are used')

    def check_now(self):
        listed = self.list()
        self.check_jobs(listed)
        known = [j for j in self.jobs if j.name in listed]
        for job in self.random.sample(known, min(2, len(known))):
            self.check_rows(job)
        if self.random.random() < 0.2:
            self.check_slots()

    def is_over(self):
        self.daemon.process.poll()
        return not self.live(self.list())

    def check_end(self):
        """All jobs end, and everything of them is there."""
        for reader in self.readers:
            reader.kill()
            reader.wait()
        for pid in [p for _, p in self.processes()]:  # a stopped one that nobody waits for yet
            send(pid, signal.SIGCONT)
        common.wait_for(self.is_over, self.PATIENCE_S, 'all jobs end')
        listed = self.list()
        self.check_jobs(listed)
        for job in self.jobs:
            if job.name in listed:
                self.check_job(job, listed[job.name])
        common.wait_for(lambda: not self.processes(), 10, 'no process is left')
        self.check_slots()
        ids = [e['id'] for e in listed.values()]  # another reidd's job may have the same one for a while
        common.wait_for(lambda: not [p for p in pathlib.Path('/dev/shm').glob('reidd-*') if any(i in p.name for i in ids)], 30,
                        'no folder of theirs is left in /dev/shm')

    def summary(self):
        attempts = sum(e['attempt'] for e in self.list().values())
        return f'{len(self.jobs)} jobs, {attempts} attempts; killed: ' + \
            ', '.join(f'{kind} {n}' for kind, n in sorted(self.counts.items()))


class Scripted(World):
    """Trainers that follow a script (fake/fake.h)."""

    def trainer_options(self):
        return ['--trainer', str(common.BIN.parent / 'tests/reidd_fake_trainer')]

    def new_job(self, name, ranks):
        iterations = self.random.randrange(5, 60)
        job = Job(name, ranks, self.folder / 'out' / name, iterations)
        job.out.mkdir(parents=True)
        (job.out / 'script').write_text(f'link\nphase 2\ntrain {iterations} {self.random.randrange(5, 60)} {self.random.randrange(1, 9)}\n')
        return job

    def job_words(self, job):
        return [self.folder / 'config.yml', 'OUTPUT_DIR', job.out]

    def start(self):
        config = subprocess.run([common.BIN / 'reidctl', 'submit', '--dry-run', common.CONFIG], check=True, capture_output=True, text=True)
        (self.folder / 'config.yml').write_text(config.stdout)
        super().start()

    def check_job(self, job, entry):
        violation = job.out / 'violation'
        check(not violation.exists(), f'{job.name}: {violation.read_text() if violation.exists() else ""}')
        rows = self.check_rows(job)
        for attempt in range(1, entry['attempt'] + 1):
            have = len(rows.get(attempt, []))
            for what in (f'stored-{attempt}', f'written-{attempt}.0'):
                number = read_number(job.out / what)
                check(have >= number, f'{job.name}: {what} is {number}, and {have} rows are there')
            for rank in range(job.ranks):
                self.check_log(job, entry, attempt, rank)
        done = {r['iteration'] for some in rows.values() for r in some}
        if entry['state'] == 'SUCCEEDED':
            check(done == set(range(job.iterations)), f'{job.name}: iterations are missing')

    def check_log(self, job, entry, attempt, rank):
        log = self.daemon.state / 'jobs' / entry['id'] / f'attempt-{attempt}/logs/rank-{rank}.out'
        text = log.read_text() if log.exists() else ''
        told = self.daemon.ctl('logs', '--attempt', attempt, '--rank', rank, job.name) if text else None
        lines = re.findall(r'line (\d+)$', told.stdout if told else '', re.M)
        check(re.findall(r'line (\d+)$', text, re.M) == lines, f'{job.name}: the log of attempt {attempt} is told as another one')
        numbers = [int(n) for n in lines]
        check(numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True, f'{log}: {numbers}')
        written = read_number(job.out / f'written-{attempt}.{rank}')
        check(len(numbers) >= written, f'{log}: {written} lines were written, {len(numbers)} are there')


class Real(World):
    """reid-train itself; all jobs are the same training."""
    KEYS = ['SOLVER.MAX_EPOCH', '6', 'TEST.EVAL_PERIOD', '0', 'SOLVER.CHECKPOINT_PERIOD', '1', 'SEED', '7']

    def trainer_options(self):
        return []

    def new_job(self, name, ranks):
        return Job(name, min(ranks, common.RANKS), self.folder / 'out' / name, 36)

    def job_words(self, job):
        return [common.CONFIG, 'DATASETS.ROOT', self.folder / 'data', 'OUTPUT_DIR', job.out, *common.SMALL, *self.KEYS]

    def start(self):
        common.make_market(self.folder / 'data')
        super().start()
        self.reference = {}
        for ranks in {1, common.RANKS}:
            job = Job(f'reference{ranks}', ranks, self.folder / 'out' / f'reference{ranks}', 36)
            done = self.daemon.ctl('submit', '--name', job.name, '-n', ranks, *self.job_words(job))
            check(done.returncode == 0, done.stderr)
            job.id = done.stdout.split()[-1]
            self.jobs.append(job)
            self.daemon.wait_state(job.name, ('SUCCEEDED',), 120)
            self.reference[ranks] = common.bits(job.out / 'model_final')

    def check_job(self, job, entry):
        rows = self.check_rows(job)
        if entry['state'] != 'SUCCEEDED':
            return
        done = {r['iteration'] for some in rows.values() for r in some}
        check(done == set(range(job.iterations)), f'{job.name}: iterations are missing: {sorted(set(range(job.iterations)) - done)}')
        check(common.bits(job.out / 'model_final') == self.reference[job.ranks], f'{job.name} has come to other bits')


class Head:
    """The daemon of the first node, as common.Daemon is one."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.state, self.socket = cluster.state(cluster.head), cluster.state(cluster.head) / 'reidd.sock'
        self.ctl, self.rows = (lambda *words, **more: common.Daemon.ctl(self, *words, **more)), (lambda name: common.Daemon.rows(self, name))

    @property
    def process(self):
        return self.cluster.daemons[self.cluster.head]

    def kill(self):
        if self.process.poll() is None:
            self.cluster.kill(self.cluster.head)

    def start(self):
        self.cluster.start(self.cluster.head)

    def stop(self):
        for name in self.cluster.names:
            self.cluster.stop(name)


class Nodes(Scripted):
    """Three nodes with two slots each."""
    RANKS = (1, 2, 3, 4, 6)
    PATIENCE_S = 300

    def start(self):
        sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'cluster'))
        import cluster
        config = subprocess.run([common.BIN / 'reidctl', 'submit', '--dry-run', common.CONFIG, 'SOLVER.IMS_PER_BATCH', '48'], check=True,
                                capture_output=True, text=True)
        (self.folder / 'config.yml').write_text(config.stdout)
        self.cluster = cluster.Cluster(3, *[w for w in OPTIONS if w != '--slots'][1:], '--slots', '2')
        self.cluster.__enter__()
        self.daemon = Head(self.cluster)
        self.cuts = 0

    def revive(self):
        for name in self.cluster.names:
            if self.cluster.daemons[name].poll() is not None:
                self.cluster.start(name)

    def processes(self):
        found = []
        for host in self.cluster.names:
            for pid, line in self.cluster.hosts.pids(host).items():
                words = line.split()
                name = os.path.basename(words[0]) if words else ''
                if name == 'reidd-shim':
                    name = 'wrapper' if '--rank-exec' in words else 'part' if '--part' in words else 'shim'
                elif name == 'reidd_fake_trainer':
                    name = 'rank' if '--check-only' not in words else ''
                elif name == 'reidctl':
                    name = 'agent' if 'agent' in words else ''
                if name in ('wrapper', 'part', 'shim', 'rank', 'agent', 'mpirun', 'orted'):
                    found.append((name, pid))
        return found

    def kill_member(self):
        self.cluster.kill(self.random.choice(self.cluster.names[1:]))
        self.count('reidd of a member')
        time.sleep(self.random.choice((0, 0, 0.3)))

    def cut(self):
        name = self.random.choice(self.cluster.names[1:])
        self.cluster.hosts.cut(name)
        time.sleep(self.random.choice((0.5, 2, 7)))
        self.cluster.hosts.heal(name)
        self.count('cable')

    def kill_all(self):
        for name in self.cluster.names:
            self.cluster.kill(name)
        for _, pid in self.processes():
            send(pid)
        self.count('everything')

    WAYS = [(3, World.kill_daemon), (3, kill_member), (1.5, cut), (0.7, kill_all), (1, World.kill_job), (1, World.cancel), (1, World.kill_reader),
            *[(1.5, lambda w, kind=kind: w.kill_one(kind)) for kind in ('shim', 'part', 'mpirun', 'orted', 'agent', 'wrapper', 'rank')],
            *[(0.7, lambda w, kind=kind: w.kill_daemon_and(kind)) for kind in ('shim', 'part', 'mpirun', 'orted', 'agent', 'rank')]]

    def check_end(self):
        super().check_end()
        for name in self.cluster.names[1:]:
            parts = self.cluster.state(name) / 'parts'
            common.wait_for(lambda: not list(parts.glob('*')), 30, f'{name} has forgotten its parts')

    def keep(self):
        shutil.copytree(self.cluster.folder, self.folder / 'cluster', ignore=lambda path, names: [n for n in names if n.endswith('.sock')])

    def close(self):
        self.cluster.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=300)
    parser.add_argument('--seconds', type=float, default=1e9, help='no further round after that long')
    parser.add_argument('--seed', type=int, default=None)
    parser.add_argument('--real', action='store_true', help='trainings instead of scripts')
    parser.add_argument('--nodes', action='store_true', help='three nodes in namespaces; needs root')
    parser.add_argument('--keep', action='store_true', help='leave the folder of a run that failed')
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(3), 'big')
    folder = tempfile.mkdtemp(prefix='reid-kill-')
    world = (Nodes if args.nodes else Real if args.real else Scripted)(folder, seed)
    begin, done, failed = time.monotonic(), 0, True
    try:
        world.start()
        while done < args.rounds and time.monotonic() - begin < args.seconds:
            world.round()
            done += 1
        world.check_end()
        summary = world.summary()
        world.daemon.stop()
        failed = False
        print(f'{done} rounds with seed {seed} in {time.monotonic() - begin:.0f} s: {summary}')
    except (Broken, AssertionError) as broken:
        print(f'seed {seed}, round {done + 1}, in {folder}: {str(broken)[-800:]}')
    finally:
        if world.daemon:
            world.daemon.kill()
            for _, pid in world.processes():
                send(pid)
            if failed and args.keep:
                world.keep()
            world.close()
        for reader in world.readers:
            send(reader.pid)
        if not (failed and args.keep):
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
