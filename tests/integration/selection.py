#!/usr/bin/python3
"""Verbs of many jobs: reidctl cancel, hold, release and rm with --all, --user, --state, --older-than."""
import pathlib
import shutil
import sqlite3
import tempfile
import time
import unittest

import common


class Selection(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='reid-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.daemon = common.Daemon(self.folder / 'state', '--slots', '1', '--trainer', common.BIN.parent / 'tests/reidd_fake_trainer')
        self.addCleanup(self.daemon.stop)
        self.user = None

    def submit(self, *more, script='link\nphase 2\nwait go\nexit 0\n'):
        out = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (out / 'script').write_text(script)
        config = out / 'config.yml'
        config.write_text(f'OUTPUT_DIR: {out}\n')
        done = self.daemon.ctl('submit', '--config-file', config, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        job = done.stdout.split()[-1]
        self.user = self.user or self.daemon.job(job)['user']
        return job

    def ctl(self, *args, code=0):
        done = self.daemon.ctl(*args)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        return done.stdout.splitlines() if code == 0 else done

    def states(self, *jobs):
        return [self.daemon.job(job)['state'] for job in jobs]

    def test_the_queue(self):
        runs = self.submit()
        self.daemon.wait_state(runs, ('RUNNING',), 30)
        first, second, third = (self.submit() for _ in range(3))
        self.ctl('hold', second)
        self.assertEqual(self.ctl('hold', '--all'), [f'{third} is held', f'{first} is held', '2 jobs held'])
        self.assertEqual(self.ctl('hold', '--all'), ['0 jobs held'])
        # Narrowed by words, user and state.
        self.assertEqual(self.ctl('release', '--user', 'somebody', first), ['0 jobs released'])
        self.assertEqual(self.ctl('release', '--user', f'somebody,{self.user}', first), [f'{first} PENDING', '1 job released'])
        self.assertEqual(self.ctl('release', '--state', 'pending'), [f'{second} PENDING', f'{third} PENDING', '2 jobs released'])
        self.assertEqual(self.ctl('cancel', '--state', 'PENDING,paused', '--user', self.user, second, runs),
                         [f'{second} CANCELLED', '1 job cancelled'])
        # Those that wait come first, so that none of them starts.
        self.assertEqual(self.ctl('cancel', '--all', '--grace', '0.1'),
                         [f'{third} CANCELLED', f'{first} CANCELLED', f'{runs} is being cancelled', '3 jobs cancelled'])
        self.daemon.wait_state(runs, ('CANCELLED',), 30)
        self.assertEqual([self.daemon.job(job)['attempt'] for job in (first, third)], [0, 0])
        self.assertEqual(self.ctl('cancel', '--all'), ['0 jobs cancelled'])

    def test_a_word_that_is_no_job(self):
        job = self.submit('--hold')
        done = self.ctl('cancel', '--all', 'nobody', job, code=4)
        self.assertEqual((done.stdout, done.stderr), (f'{job} CANCELLED\n1 job cancelled\n', "reidctl: there is no job 'nobody'\n"))

    def test_ended_jobs_are_removed(self):
        good, bad = self.submit(script='link\nexit 0\n'), self.submit(script='link\nexit 3\n')
        self.daemon.wait_state(bad, ('FAILED',), 30)
        kept = self.submit('--hold')
        waits = self.submit('--after', f'{kept}:any', '--hold')
        self.assertEqual(self.ctl('rm', '--all', '--state', 'FAILED'), [f'{bad} is removed', '1 job removed'])
        self.assertEqual(self.ctl('rm', '--older-than', '1h'), ['0 jobs removed'])
        self.daemon.stop()
        database = sqlite3.connect(self.daemon.state / 'reidd.db')
        with database:
            database.execute('UPDATE jobs SET ended_ms = ended_ms - 7200000 WHERE id = ?', (good,))
        database.close()
        self.daemon.start()
        young = self.submit(script='link\nexit 0\n')
        self.daemon.wait_state(young, ('SUCCEEDED',), 30)
        self.assertEqual(self.ctl('rm', '--older-than', '1h'), [f'{good} is removed', '1 job removed'])
        # One fails, the other one goes.
        self.ctl('cancel', kept)
        done = self.ctl('rm', '--all', code=5)
        self.assertEqual(done.stdout, f'{young} is removed\n1 of 2 jobs removed\n')
        self.assertIn(f'job {waits} was submitted to start after job {kept}', done.stderr)
        self.assertEqual(self.states(waits), ['PENDING'])

    def test_what_is_no_selection(self):
        job = self.submit('--hold')
        for words, sentence in ((['cancel'], 'cancel needs JOB ... or a selection, such as --all or --user NAME'),
                                (['rm'], 'remove needs JOB ... or a selection'),
                                (['cancel', '--reason', 'why'], 'cancel needs JOB'),
                                (['cancel', '--state', 'QUEUED'], "'QUEUED' is not a state of a job; those are PENDING"),
                                (['cancel', '--state', ''], '--state needs states'),
                                (['cancel', '--user', ''], '--user needs the name of a user'),
                                (['cancel', '--state', 'FAILED'], 'no job that is FAILED can be cancelled'),
                                (['rm', '--state', 'RUNNING'], 'no job that is RUNNING can be removed'),
                                (['rm', '--older-than', 'ages'], "'ages'"),
                                (['cancel', '--older-than', '1d'], "cancel has no option '--older-than'"),
                                (['requeue', '--all'], "requeue has no option '--all'")):
            with self.subTest(words=words):
                self.assertIn(sentence, self.ctl(*words, code=2).stderr)
        self.assertEqual(self.states(job), ['PENDING'])

    def test_a_long_queue(self):
        """More than a page of the list, in a time that allows for ten thousand."""
        first = self.submit('--hold')
        self.daemon.stop()
        count = 2500
        database = sqlite3.connect(self.daemon.state / 'reidd.db')
        columns = ','.join(row[1] for row in database.execute('PRAGMA table_info(jobs)') if row[1] not in ('key', 'id'))
        for i in range(1, count):
            id = f'{first[:4]}{i:04d}'
            database.execute(f'INSERT INTO jobs(id,{columns}) SELECT ?,{columns} FROM jobs WHERE id = ?', (id, first))
            database.execute('INSERT INTO configs SELECT max(jobs.key), yaml FROM jobs, configs WHERE configs.job = '
                             '(SELECT key FROM jobs WHERE id = ?)', (first,))
            shutil.copytree(self.daemon.state / 'jobs' / first, self.daemon.state / 'jobs' / id)
        database.commit()
        database.close()
        self.daemon.start()
        began = time.monotonic()
        lines = self.ctl('cancel', '--all')
        self.assertLess(time.monotonic() - began, 15 * common.PATIENCE)
        self.assertEqual((len(set(lines)), lines[-1]), (count + 1, f'{count} jobs cancelled'))
        self.assertEqual(self.ctl('ps', '-q'), [])


if __name__ == '__main__':
    common.main()
