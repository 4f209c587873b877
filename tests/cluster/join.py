#!/usr/bin/python3
"""Daemons that mpirun starts together, and that live on without it and without each other."""
import os
import pathlib
import signal
import sys
import unittest

import cluster
from cluster import wait_for

if os.environ.get('REID_HAVE_MPI', '1') != '1':
    cluster.skip('a build without MPI')


class Join(unittest.TestCase):
    def mpirun(self, c, shell, *options, hosts='node1,node2,node3'):
        """mpirun on node1; its exit status and output."""
        environment = {'PATH': os.environ['PATH'], 'HOME': os.environ.get('HOME', '/root'), 'TMPDIR': str(c.folder),
                       'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1',
                       'OMPI_MCA_plm': 'rsh', 'OMPI_MCA_plm_rsh_agent': str(shell), 'OMPI_MCA_plm_rsh_no_tree_spawn': '1',
                       'OMPI_MCA_orte_leave_session_attached': '1', 'OMPI_MCA_oob_tcp_if_include': '10.77.0.0/24',
                       'OMPI_MCA_btl_tcp_if_include': '10.77.0.0/24', 'OMPI_MCA_btl': 'self,tcp'}
        done = c.hosts.run('node1', ['mpirun', '-N', '1', '--host', hosts, cluster.BIN / 'reidd', '--state-dir', c.folder / '%n',
                                     '--socket', f'unix:{c.folder}/%n/reidd.sock', '--tls-dir', c.folder / 'tls',
                                     '--trainer', cluster.FAKE, '--slots', '1', *options],
                           env=environment, timeout=120 * cluster.PATIENCE)
        return done.returncode, done.stdout + done.stderr

    def test_started_together(self):
        cluster.need_programs('reidd', 'reidctl', 'reidd-join', 'reidd-shim', cluster.FAKE)
        with cluster.Cluster(3, start=False) as c:
            shell = c.hosts.remote_shell()
            code, text = self.mpirun(c, shell, '--network', '10.77.0.0/24')
            self.assertEqual(code, 0, text)
            c.wait_up('node1', 'node2', 'node3')
            self.assertEqual(c.nodes()['node2']['address'], 'tcp://10.77.0.2:7411')
            self.assertIn('network: 10.77.0.0/24', (c.folder / 'node2/cluster.yml').read_text())
            # mpirun and its daemons are gone, and nothing of theirs is in reidd's environment.
            for name in c.names:
                found = c.hosts.pids(name)
                self.assertEqual([line.split()[0].rsplit('/', 1)[-1] for line in found.values()], ['reidd'], found)
                pid = next(iter(found))
                self.assertNotIn(b'OMPI_', pathlib.Path(f'/proc/{pid}/environ').read_bytes())
            # Nothing that mpirun left is in the way of a job over all nodes.
            job, _ = c.submit('link\nphase 2\nout here\nexit 0\n', '-n', '3')
            c.wait_job(job, ('SUCCEEDED',), 40)
            self.assertEqual(c.ctl('node1', 'logs', job).stdout.count('here'), 3)
            # A second time: each says that it is there, mpirun fails, the daemons live on.
            code, text = self.mpirun(c, shell, '--network', '10.77.0.0/24')
            self.assertNotEqual(code, 0)
            self.assertIn('there is a reidd at', text)
            # One dies: the others stay; and it comes back by itself with the file that was written.
            os.kill(next(iter(c.hosts.pids('node3'))), signal.SIGKILL)
            c.wait_state('node3', 'DOWN')
            self.assertEqual(c.nodes()['node2']['state'], 'UP')
            c.file = c.folder / 'node3/cluster.yml'
            c.start('node3')
            c.wait_up('node3')


class More(Join):
    """By hand: join.py More."""
    test_started_together = None

    def test_refusals(self):
        cluster.need_programs('reidd', 'reidctl', 'reidd-join', 'reidd-shim', cluster.FAKE)
        with cluster.Cluster(2, start=False) as c:
            shell = c.hosts.remote_shell()
            for options, hosts, sentence in (
                    (('--network', '10.99.0.0/24'), 'node1,node2', 'this machine has no address in 10.99.0.0/24'),
                    (('--tls-dir', '/nowhere'), 'node1,node2', '/nowhere')):
                code, text = self.mpirun(c, shell, *options, hosts=hosts)
                self.assertNotEqual(code, 0, text)
                self.assertIn(sentence, text)
            for name in c.names:
                wait_for(lambda n=name: not c.hosts.pids(n), 20, f'nothing runs on {name}')


if __name__ == '__main__':
    unittest.main(verbosity=2, argv=[sys.argv[0], *sys.argv[1:]])
