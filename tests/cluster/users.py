#!/usr/bin/python3
"""Ranks on all nodes run as the submitter of their job, and what they write comes to its owner at the head."""
import pathlib
import pwd
import re
import unittest

import cluster


class Users(cluster.Case):
    options = ('--slots', '3', '--operators', 'nogroup')

    def test_ranks_of_a_user(self):
        c, nobody = self.cluster, pwd.getpwnam('nobody').pw_uid
        job, out = c.submit('environment USER\nlink\nphase 2\n0:rows 2\n0:last-row\nwait go\nexit 0\n', '-n', '8', user='nobody')
        c.wait_job(job, ('RUNNING',))
        cluster.wait_for(lambda: c.ctl(c.head, 'logs', job).stdout.count('USER=') == 8, 30, 'all ranks have begun')
        ranks = [p for p in pathlib.Path('/proc').iterdir() if p.name.isdigit() and b'REIDD_TICKET=' in self.environment(p)
                 and f'REIDD_JOB={job}\0'.encode() in self.environment(p)]
        self.assertGreaterEqual(len(ranks), 8)
        for process in ranks:  # ranks, their supervisors, mpirun, orted, agents
            status = (process / 'status').read_text()
            self.assertRegex(status, rf'Uid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}\n', (process / 'cmdline').read_text())
            self.assertRegex(status, r'NoNewPrivs:\t1')
        for name in c.names[1:]:
            part = c.state(name) / 'parts' / job
            self.assertEqual((part.stat().st_uid, oct(part.stat().st_mode & 0o777)), (0, '0o710'))
            self.assertEqual((part / 'attempt-1').stat().st_uid, nobody)
            self.assertEqual((part / 'config.yaml').stat().st_uid, 0)
        (out / 'go').touch()
        c.wait_job(job, ('SUCCEEDED',))
        attempt = c.state(c.head) / 'jobs' / job / 'attempt-1'
        for rank in range(8):
            log = attempt / f'logs/rank-{rank}.out'
            self.assertEqual(log.stat().st_uid, nobody)
            self.assertEqual(log.read_text(), 'USER=nobody\n')
        done = c.ctl(c.head, 'logs', job, user='nobody')
        self.assertEqual(len(re.findall('USER=nobody', done.stdout)), 8, done.stderr)
        self.assertIn('rank', done.stdout)

    def test_users_with_certificates(self):
        """Over TCP the name in the certificate is the account, and root is nobody's."""
        c, nobody = self.cluster, pwd.getpwnam('nobody').pw_uid
        for name, role in (('nobody', 'operator'), ('root', 'admin'), ('nosuchuser', 'operator')):
            c.issue(role, name, c.folder / 'tls' / f'user-{name}')
        out = c.folder / 'tcp'
        out.mkdir()
        out.chmod(0o777)
        (out / 'script').write_text('environment USER\nmark up\nwait go\nexit 0\n')
        config = c.folder / 'tcp.yml'
        config.write_text(f'OUTPUT_DIR: {out}\n')
        done = c.remote('node2', 'user-nobody', 'submit', config)
        self.assertEqual(done.returncode, 0, done.stderr)
        job = done.stdout.strip()
        cluster.wait_for((out / 'up').exists, 30, 'the job runs')
        self.assertEqual((c.job(job)['user'], (out / 'up').stat().st_uid), ('nobody', nobody))
        for name, sentence in (('root', 'jobs of root are taken on the Unix socket of this node only'),
                               ('nosuchuser', "there is no account 'nosuchuser' on this node for the job to run as")):
            done = c.remote('node2', f'user-{name}', 'submit', config)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(sentence, done.stderr)
        # The same person at the Unix socket; another operator may not; an admin may.
        done = c.remote('node2', 'user-nosuchuser', 'cancel', job)
        self.assertIn(f'job {job} is of user nobody', done.stderr)
        done = c.ctl(c.head, 'cancel', job, user='nobody')
        self.assertEqual(done.returncode, 0, done.stderr)
        c.wait_job(job, ('CANCELLED',))
        # Keys are where they were made, and nowhere else.
        secrets = [path.read_text().splitlines()[1].encode() for path in (c.folder / 'tls').rglob('key.pem')]
        texts = [path for name in c.names for path in c.state(name).rglob('*') if path.is_file()]
        texts += [entry / part for entry in pathlib.Path('/proc').iterdir() if entry.name.isdigit() for part in ('cmdline', 'environ')]
        self.assertGreater(len(secrets), 5)
        for path in texts:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            for secret in secrets:
                self.assertNotIn(secret, data, path)

    def environment(self, process):
        try:
            return (process / 'environ').read_bytes()
        except OSError:
            return b''


if __name__ == '__main__':
    unittest.main(verbosity=2)
