#!/usr/bin/python3
"""A long queue: what submitting, listing, changing and ending jobs costs when very many wait, and what reidd needs for them.

Jobs of a trainer that follows a script (tests/unit/daemon/fake) wait behind one that holds the only slot. Prints a table, or JSON.
    REIDD_BUILD_DIR=build/release /usr/bin/python3 tests/bench/queue_run.py [--jobs 10000] [--json]"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('REIDD_BUILD_DIR', ROOT / 'build/release')).resolve()
sys.path.insert(0, str(BUILD / 'python'))
import reidd  # noqa: E402

FIELDS = {'rss_mib': 'VmRSS', 'peak_mib': 'VmHWM'}


def memory(pid):
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    return {k: int(status.split(v + ':')[1].split()[0]) / 1024 for k, v in FIELDS.items()}


def cpu_seconds(pid):
    return sum(int((t / 'schedstat').read_text().split()[0]) for t in pathlib.Path(f'/proc/{pid}/task').iterdir()) / 1e9


class Bench:
    def __init__(self, folder, jobs):
        self.folder, self.count = folder, jobs
        self.out = folder / 'out'
        self.out.mkdir()
        (self.out / 'script').write_text('link\nphase 2\nwait go\nexit 0\n')
        self.figures = {'jobs': jobs}
        self.start()

    def start(self):
        began = time.monotonic()
        self.daemon = subprocess.Popen([BUILD / 'bin/reidd', '--state-dir', self.folder / 'state', '--socket', self.folder / 's', '--slots', '1',
                                        '--trainer', BUILD / 'tests/reidd_fake_trainer', '--max-jobs', str(self.count + 1000),
                                        '--log-level', 'warn', '--check-timeout', '120'])
        while True:
            try:
                self.connection = reidd.connect(self.folder / 's', timeout=120)
                break
            except reidd.Unavailable:
                time.sleep(0.02)
        return time.monotonic() - began

    def stop(self):
        self.connection.close()
        self.daemon.terminate()
        self.daemon.wait()

    def submit(self, number, **more):
        began = time.monotonic()
        job = self.connection.submit_text(f'OUTPUT_DIR: {self.out}\n', 1, name=f'job{number}', **more)
        return job.id, time.monotonic() - began

    def timed(self, name, what, times=5):
        took = []
        for i in range(times):
            began = time.monotonic()
            what(i)
            took.append(time.monotonic() - began)
        self.figures[name + '_ms'] = round(1e3 * statistics.median(took), 2)

    def submit_many(self, name, count):
        began, cpu = time.monotonic(), cpu_seconds(self.daemon.pid)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            waits = list(pool.map(lambda i: self.submit(f'{name}{i}')[1], range(count)))
        self.figures |= {f'{name}_per_s': round(count / (time.monotonic() - began), 1),
                         f'{name}_answer_ms': round(1e3 * statistics.median(waits), 1),
                         f'{name}_reidd_cpu_ms': round(1e3 * (cpu_seconds(self.daemon.pid) - cpu) / count, 2)}

    def copy_rows(self, like):
        """The rest of the queue, as if it had been submitted: rows of the database, and files."""
        database = sqlite3.connect(self.folder / 'state/reidd.db')
        columns = [row[1] for row in database.execute('PRAGMA table_info(jobs)') if row[1] != 'key']
        listed, chosen = ','.join(columns), ','.join({'id': '?', 'name': '?'}.get(c, c) for c in columns)
        digits = '0123456789abcdefghjkmnpqrstvwxyz'
        last = sum(digits.index(c) << 5 * i for i, c in enumerate(reversed(like)))
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for i in range(1, self.count - database.execute('SELECT count(*) FROM jobs WHERE state = 1').fetchone()[0] + 1):
            id = ''.join(digits[(last + i) >> 5 * k & 31] for k in range(7, -1, -1))
            key = database.execute(f'INSERT INTO jobs({listed}) SELECT {chosen} FROM jobs WHERE id = ?', (id, f'copy{i}', like)).lastrowid
            if 'configs' in tables:
                database.execute('INSERT INTO configs SELECT ?, yaml FROM configs WHERE job = (SELECT key FROM jobs WHERE id = ?)', (key, like))
            shutil.copytree(self.folder / 'state/jobs' / like, self.folder / 'state/jobs' / id)
        database.commit()
        database.close()

    def fill(self):
        self.submit(0)
        self.submit_many('first_submits', 100)
        like, _ = self.submit('last')
        self.stop()
        self.copy_rows(like)
        self.figures['restart_s'] = round(self.start(), 2)
        self.submit_many('more_submits', 100)
        self.ids = [job.id for job in self.connection.jobs(['PENDING'], limit=2 * self.count)]
        self.figures['waiting'] = len(self.ids)

    def ctl(self, *words):
        done = subprocess.run([BUILD / 'bin/reidctl', '-H', f'unix:{self.folder}/s', *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self):
        self.fill()
        self.figures |= memory(self.daemon.pid)
        ids = self.ids
        self.timed('ps_all', lambda i: self.ctl('ps', '--limit', str(2 * self.count)))
        self.timed('ps', lambda i: self.ctl('ps'))
        self.timed('get', lambda i: self.connection.job(ids[i * 37 % len(ids)]), 50)
        self.timed('one_more', lambda i: self.submit(f'more{i}', hold=True), 20)
        self.timed('priority', lambda i: self.ctl('priority', ids[-1 - i], '-5'), 20)
        self.timed('hold', lambda i: self.ctl('hold', ids[100 + i]), 20)
        self.timed('cancel', lambda i: self.ctl('cancel', ids[200 + i]), 20)
        cpu = cpu_seconds(self.daemon.pid)
        time.sleep(3)
        self.figures['idle_cpu_percent'] = round(100 * (cpu_seconds(self.daemon.pid) - cpu) / 3, 2)
        cpu, began, ended = cpu_seconds(self.daemon.pid), time.monotonic(), 0
        (self.out / 'go').touch()  # one after the other
        while time.monotonic() - began < 10:
            time.sleep(0.5)
        ended = sum(1 for job in self.connection.jobs(['SUCCEEDED'], limit=5000))
        self.figures |= {'jobs_run_per_s': round(ended / 10, 1), 'reidd_ms_per_job_run': round(1e3 * (cpu_seconds(self.daemon.pid) - cpu) / max(ended, 1), 2)}
        self.figures |= {'rss_later_mib': memory(self.daemon.pid)['rss_mib']}
        self.ctl('nodes', 'drain', self.connection.info().node)
        while self.connection.jobs(['STARTING', 'RUNNING']):  # it would look for its reidd for ever
            time.sleep(0.05)
        self.end_all()
        self.stop()

    def end_all(self):
        """All that wait are cancelled by one command; then reidd is started again with that history."""
        ids = [job.id for job in self.connection.jobs(['PENDING'], limit=2 * self.count)]
        began, cpu = time.monotonic(), cpu_seconds(self.daemon.pid)
        self.ctl('cancel', '--all')
        self.figures |= {'cancelled': len(ids), 'cancel_all_s': round(time.monotonic() - began, 2),
                         'cancel_all_reidd_cpu_ms': round(1e3 * (cpu_seconds(self.daemon.pid) - cpu) / len(ids), 3)}
        self.stop()
        self.figures['restart_with_ended_s'] = round(self.start(), 2)
        self.timed('ps_ended', lambda i: self.ctl('ps', '-a', '--limit', str(2 * self.count)))
        self.figures['rss_ended_mib'] = memory(self.daemon.pid)['rss_mib']


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--jobs', type=int, default=10000)
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder), args.jobs)
        try:
            bench.run()
        finally:
            if bench.daemon.poll() is None:
                bench.daemon.kill()
    if args.json:
        print(json.dumps(bench.figures))
    else:
        for name, value in bench.figures.items():
            print(f'{name:24} {value:.4g}' if isinstance(value, float) else f'{name:24} {value}')


if __name__ == '__main__':
    main()
