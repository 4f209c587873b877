#!/usr/bin/python3
"""Who is there: three nodes over TCP with certificates; cables that are cut, daemons that die, drains, a head that moves."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import cluster
from cluster import wait_for


SPEAKER = '''
import grpc, pathlib, sys
folder = pathlib.Path(sys.argv[1])
key, certificate, ca = ((folder / name).read_bytes() for name in ('key.pem', 'cert.pem', 'ca.pem'))
channel = grpc.secure_channel(sys.argv[2], grpc.ssl_channel_credentials(ca, key, certificate))
call = channel.unary_unary('/reid.v1.SystemService/Nodes', lambda x: x, lambda x: x)
for metadata in ((), (('reid-caller', 'viewer eve'),), (('reid-caller', 'eve'),)):
    try:
        call(b'', timeout=20, metadata=metadata)
        print('OK')
    except grpc.RpcError as error:
        print(error.code().name, error.details())
'''


# Says other things than a node does, with a node's certificate.
JOINER = '''
import grpc, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
key, certificate, ca = ((folder / name).read_bytes() for name in ('key.pem', 'cert.pem', 'ca.pem'))
channel = grpc.secure_channel(sys.argv[2], grpc.ssl_channel_credentials(ca, key, certificate))
join = channel.stream_stream('/reid.v1.NodeService/Join', lambda x: x, lambda x: x)
def hello(name, protocol):
    inner = bytes([0x0a, len(name)]) + name.encode() + bytes([0x10, protocol, 0x28, 1])
    return bytes([0x0a, len(inner)]) + inner
def say(*messages):
    yield from messages
    time.sleep(30)
for messages in ((hello('node2', 1),), (hello('node3', 2),), (hello('node1', 2),), (bytes([0x12, 0]),), ()):
    try:
        for answer in join(say(*messages), timeout=60):
            print('answered')
    except grpc.RpcError as error:
        print(error.code().name, error.details(), flush=True)
'''


class Members(cluster.Case):
    options = ('--slots', '2', '--operators', 'nogroup')

    def test_all_are_up(self):
        nodes = self.cluster.nodes()
        self.assertEqual(list(nodes), ['node1', 'node2', 'node3'])
        self.assertEqual([n['state'] for n in nodes.values()], ['UP'] * 3)
        self.assertEqual([n['head'] for n in nodes.values()], [True, False, False])
        self.assertEqual([n['slots'] for n in nodes.values()], [2, 2, 2])
        self.assertEqual(nodes['node3']['address'], 'tcp://10.77.0.3:7411')
        self.assertGreater(nodes['node2']['memory_total_bytes'], 0)
        info = json.loads(self.cluster.ctl('node1', 'version', '-o', 'json').stdout)
        self.assertIn('reidd', json.dumps(info))

    def test_cut_and_healed(self):
        start = time.monotonic()
        self.cluster.hosts.cut('node2')
        try:
            node = self.cluster.wait_state('node2', 'DOWN', 15)
            took = time.monotonic() - start
            self.assertEqual(node['note'], 'nothing was heard of node2 for 5 s')
            self.assertEqual(self.cluster.nodes()['node3']['state'], 'UP')
            table = self.cluster.ctl('node1', 'nodes').stdout
            self.assertRegex(table, r'node2 +DOWN ')
            self.assertRegex(table, r'node2 is DOWN for \S+: nothing was heard of node2 for 5 s\n')
        finally:
            self.cluster.hosts.heal('node2')
        start = time.monotonic()
        self.cluster.wait_up('node2', seconds=20)
        print(f'cut: DOWN after {took:.1f} s, UP again {time.monotonic() - start:.1f} s after it was healed')
        self.assertIsNone(self.cluster.nodes()['node2']['note'])

    def test_killed_and_started_again(self):
        self.cluster.kill('node3')
        node = self.cluster.wait_state('node3', 'DOWN')
        self.assertEqual(node['note'], 'the connection of node3 has ended')
        self.cluster.start('node3')
        self.cluster.wait_up('node3')
        self.cluster.stop('node3')
        node = self.cluster.wait_state('node3', 'DOWN')
        self.assertEqual(node['note'], 'reidd on node3 was stopped')
        self.cluster.start('node3')
        self.cluster.wait_up('node3')

    def test_a_head_that_slept_blames_nobody(self):
        before = len(self.cluster.log('node1'))
        self.cluster.kill('node1', signal.SIGSTOP)
        time.sleep(7)  # longer than the silence that counts as loss
        self.cluster.kill('node1', signal.SIGCONT)
        # The members gave the silent head up, and join again; the head itself must not count its own sleep.
        wait_for(lambda: self.cluster.log('node1')[before:].count('node up') >= 2, 20, 'both join again')
        self.assertNotIn('nothing was heard', self.cluster.log('node1')[before:])
        self.cluster.wait_up('node2', 'node3')

    def test_head_restart(self):
        self.cluster.kill('node1')
        wait_for(lambda: 'cluster without head' in self.cluster.log('node2').rsplit('cluster joined', 1)[-1], 15,
                 'node2 misses the head')
        self.cluster.start('node1')
        self.cluster.wait_up('node2', 'node3')

    def test_drain_outlives_a_restart(self):
        done = self.cluster.ctl('node1', 'nodes', 'drain', 'node3', '--reason', 'new fan')
        self.assertEqual((done.returncode, done.stdout), (0, 'node3 takes no new jobs\n'), done.stderr)
        self.assertEqual(self.cluster.nodes()['node3']['state'], 'DRAINED')
        self.cluster.kill('node1')
        self.cluster.start('node1')
        node = self.cluster.wait_state('node3', 'DRAINED')
        self.assertEqual((node['drain_reason'], node['drained_by']), ('new fan', 'root'))
        self.assertEqual(node['note'], 'drained by root: new fan')
        done = self.cluster.ctl('node1', 'nodes', 'resume', 'node3')
        self.assertEqual((done.returncode, done.stdout), (0, 'node3 takes jobs\n'), done.stderr)
        self.cluster.wait_up('node2', 'node3')

    def test_refused_words(self):
        for words, code, sentence in (
                (('drain', 'node9'), 4, "there is no node 'node9'; there is node1, node2, node3"),
                (('drain',), 2, 'nodes drain needs the name of a node'),
                (('paint', 'node1'), 2, "nodes can be drained and resumed, not 'paint'")):
            done = self.cluster.ctl('node1', 'nodes', *words)
            self.assertEqual((done.returncode, done.stdout), (code, ''), done.stderr)
            self.assertIn(sentence, done.stderr)

    def test_members_answer_for_the_head(self):
        c = self.cluster
        if c.ctl('node2', 'ps', user='nobody').returncode != 0:
            self.skipTest('this build cannot be reached by another user')
        self.assertEqual(list(c.nodes('node2')), ['node1', 'node2', 'node3'])
        job, out = c.submit('out hello\nlink\nphase 2\nrows 3\nlast-row\nwait go\nexit 0\n', '--name', 'afar', name='node2',
                            user='nobody')
        wait_for(lambda: c.job(job, 'node3')['state'] == 'RUNNING', 20, 'it runs')
        self.assertEqual(c.job(job)['user'], 'nobody')
        follow = c.hosts.start('node3', [cluster.BIN / 'reidctl', '-H', c.socket('node3'), 'logs', '-f', job],
                               stdout=subprocess.PIPE, text=True)
        self.assertEqual(follow.stdout.readline(), 'hello\n')
        (out / 'go').touch()
        self.assertEqual(c.ctl('node2', 'wait', job).returncode, 0)
        self.assertEqual(follow.wait(20 * cluster.PATIENCE), 0)
        follow.stdout.close()
        self.assertEqual(len(c.ctl('node2', 'metrics', job).stdout.splitlines()), 3)
        self.assertEqual(c.ctl('node2', 'describe', 'nobody').returncode, 4)
        # Whoever is root on a member is neither root nor an admin of the cluster.
        done = c.ctl('node2', 'submit', c.folder / 'job1.yml')
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn('jobs of root', done.stderr)
        done = c.ctl('node2', 'nodes', 'drain', 'node3')
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn('operator', done.stderr)
        # The head is away, and back.
        c.kill('node1')
        done = wait_for(lambda: (lambda d: d if d.returncode else None)(c.ctl('node2', 'ps')), 20, 'node2 misses the head')
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn('the head node1 of the cluster is not there', done.stderr)
        c.file.write_text(c.file.read_text().replace('name: node3,', 'name: node3, clients: viewer,'))
        c.start('node1')
        c.wait_up('node2', 'node3')
        wait_for(lambda: c.ctl('node2', 'ps').returncode == 0, 20, 'node2 asks it again')
        wait_for(lambda: c.ctl('node3', 'ps').returncode == 0, 20, 'node3, too')
        # Of this node's clients the head believes only that they may look.
        done = c.ctl('node3', 'cancel', job, user='nobody')
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn('needs the role operator; user nobody is viewer', done.stderr)

    def test_only_nodes_speak_for_others(self):
        """A stock client with an admin's certificate says that it speaks for somebody."""
        try:
            import grpc  # noqa: F401
        except ImportError as missing:
            self.skipTest(f'{missing}; install it with: apt-get install python3-grpcio')
        done = self.cluster.hosts.run('node2', ['/usr/bin/python3', '-c', SPEAKER, self.cluster.folder / 'tls/admin', '10.77.0.1:7411'])
        self.assertEqual(done.stdout.splitlines(), [
            'OK',
            "PERMISSION_DENIED this is for the nodes of the cluster, not for 'admin' (admin)",
            'INVALID_ARGUMENT the reid-caller header is malformed'], done.stderr)

    @unittest.skipIf(os.environ.get('REID_HAVE_MPI', '1') != '1', 'a build without MPI')
    def test_two_members_parted(self):
        """The head reaches both; their ranks would wait for each other for ever."""
        c = self.cluster
        job, _ = c.submit('link\nphase 2\non-term 143\nwait never\n', '-n', '6', '--name', 'parted')
        c.wait_job(job, ('RUNNING',), 30)
        time.sleep(3)  # for the first question and its answer
        start = time.monotonic()
        c.hosts.part('node2', 'node3')
        try:
            found = c.wait_job(job, ('FAILED',), 40)
            print(f'parted: FAILED after {time.monotonic() - start:.1f} s')
        finally:
            c.hosts.unpart('node2', 'node3')
        self.assertRegex(found['failure']['sentence'], 'node2 and node3 do not reach each other')
        self.assertEqual([n['state'] for n in c.nodes().values()], ['UP'] * 3)

    def test_roles_over_tcp(self):
        done = self.cluster.remote('node3', 'viewer', 'nodes', '-o', 'json')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)), 3)
        done = self.cluster.remote('node3', 'viewer', 'nodes', 'drain', 'node2')
        self.assertEqual(done.returncode, 5, done.stderr)
        done = self.cluster.remote('node3', 'admin', 'nodes', 'drain', 'node2')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.cluster.nodes()['node2']['drained_by'], 'admin')
        self.cluster.remote('node3', 'admin', 'nodes', 'resume', 'node2')
        self.cluster.wait_up('node2')


class Gpus(unittest.TestCase):
    """Nodes whose slots are GPUs (of a stand-in for the driver's library)."""
    @unittest.skipIf(os.environ.get('REID_HAVE_MPI', '1') != '1', 'a build without MPI')
    def test_gpus_of_all_nodes(self):
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE, cluster.BUILD / 'lib/nvml/libnvidia-ml.so.1')
        with cluster.Cluster(2, start=False) as c:
            for name, kind in (('node1', 'A100'), ('node2', 'H100')):
                told = c.folder / f'{name}.nvml'
                told.write_text('driver 580.65.06\n' + ''.join(f'gpu GPU-{name}-{i}\nname NVIDIA {kind}\nmemory 80 {i}\n' for i in (0, 1)))
                c.environment[name] = {'LD_LIBRARY_PATH': str(cluster.BUILD / 'lib/nvml'), 'REID_FAKE_NVML': str(told)}
                c.start(name)
            c.wait_up('node1', 'node2')
            wait_for(lambda: len(c.nodes()['node2']['gpus']) == 2, 20, 'node2 tells its GPUs')
            job, out = c.submit('environment CUDA_VISIBLE_DEVICES\nlink\nphase 2\nwait go\nexit 0\n', '-n', '4')
            c.wait_job(job, ('RUNNING',), 30)

            def held():
                return {g['uuid']: (g['job'], g['rank']) for n in c.nodes().values() for g in n['gpus']}
            wanted = {'GPU-node1-0': (job, 0), 'GPU-node1-1': (job, 1), 'GPU-node2-0': (job, 2), 'GPU-node2-1': (job, 3)}
            wait_for(lambda: held() == wanted, 20, 'every GPU tells its rank')
            text = c.ctl('node1', 'logs', job).stdout
            for rank, name in enumerate(('node1', 'node1', 'node2', 'node2')):
                self.assertIn(f'[{rank}] CUDA_VISIBLE_DEVICES=GPU-{name}-0,GPU-{name}-1\n', text)
            (out / 'go').touch()
            c.wait_job(job, ('SUCCEEDED',), 30)
            wait_for(lambda: set(held().values()) == {(None, None)}, 20, 'all GPUs are free')
            table = c.ctl('node2', 'nodes').stdout
            self.assertIn('2xA100', table)
            self.assertIn('2xH100', table)


class Moved(unittest.TestCase):
    def test_store_of_the_head_on_another_node(self):
        """The head is gone for good; its database goes on at node2, with what ran and what waited."""
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE)
        with cluster.Cluster(3, '--slots', '1') as c:
            done, _ = c.submit('rows 5\nexit 0\n', '--name', 'done')
            c.wait_job(done, ('SUCCEEDED',))
            for name in ('node2', 'node3'):
                self.assertEqual(c.ctl('node1', 'nodes', 'drain', name, '--reason', 'kept').returncode, 0)
            lost, out = c.submit('link\nmark started\nin-attempt 1\nwait never\nin-attempt 0\nexit 0\n', '--name', 'lost',
                                 '--max-restarts', '3')
            wait_for((out / 'started').exists, 20, 'the job runs')
            waiting, _ = c.submit('exit 0\n', '--name', 'waiting')
            self.assertEqual(c.job(waiting)['state'], 'PENDING')
            c.hosts.crash('node1')
            c.daemons['node1'].wait(20)
            for name in ('node2', 'node3'):
                c.stop(name)
            for file in c.state('node2').glob('reidd.db*'):
                file.unlink()
            for file in c.state('node1').glob('reidd.db*'):
                if not file.name.endswith('-shm'):
                    shutil.copy(file, c.state('node2'))
            c.write_file(head='node2')
            c.start('node2')
            c.start('node3')
            c.wait_state('node3', 'DRAINED')
            self.assertEqual(c.nodes()['node1']['state'], 'DOWN')
            self.assertEqual(c.job(done)['state'], 'SUCCEEDED')
            self.assertEqual(c.ctl('node2', 'nodes', 'resume', 'node2').returncode, 0)
            found = c.wait_job(lost, ('SUCCEEDED',), 60)
            self.assertEqual(found['attempt'], 2)
            events = c.ctl('node2', 'events', lost).stdout
            self.assertIn('the attempt ran where the store was before, and its files are not here', events)
            self.assertNotIn('supervisor', events)
            c.wait_job(waiting, ('SUCCEEDED',), 30)
            rows = c.ctl('node2', 'metrics', done).stdout.splitlines()
            self.assertEqual(len(rows), 5)


class Replaced(unittest.TestCase):
    """A head that was replaced, and has not been told: its cluster file is the old one."""

    def replace(self, c):
        """node1's store goes on at node2, with a job that waits at both."""
        for name in c.names:
            self.assertEqual(c.ctl('node1', 'nodes', 'drain', name).returncode, 0)
        job, out = c.submit('mark started\nexit 0\n', '--name', 'once')
        shutil.copy(c.file, c.folder / 'old.yml')
        copy = c.hosts.run('node1', [cluster.BIN / 'reidd', '--state-dir', c.state('node1'), '--backup-store', c.folder / 'copy.db'])
        self.assertEqual(copy.returncode, 0, copy.stderr)
        for name in ('node2', 'node3'):
            c.stop(name)
        for file in c.state('node2').glob('reidd.db*'):
            file.unlink()
        shutil.copy(c.folder / 'copy.db', c.state('node2') / 'reidd.db')
        c.write_file(head='node2')
        c.file = c.folder / 'new.yml'
        shutil.copy(c.folder / 'cluster.yml', c.file)
        c.start('node2')
        c.start('node3')
        c.wait_state('node3', 'DRAINED')
        return job, out

    def told(self, c):
        def seen():
            note = c.nodes('node1')['node1'].get('note', '')
            return note if 'node1 is not the head any more: node2 is' in note else None
        return wait_for(seen, 20, 'node1 tells that it is not the head')

    def start_old(self, c, *more):
        new, c.file = c.file, c.folder / 'old.yml'
        c.start('node1', *more)
        c.file = new

    def resume(self, c, at):
        for name in c.names:
            self.assertEqual(c.ctl(at, 'nodes', 'resume', name).returncode, 0)

    def test_old_head_starts_nothing(self):
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE)
        with cluster.Cluster(3, '--slots', '1') as c:
            job, out = self.replace(c)
            self.told(c)  # it has run all the time
            self.resume(c, 'node1')
            done = c.ctl('node1', 'submit', c.folder / 'job1.yml')
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('node1 is not the head any more', done.stderr)
            self.assertIn('two heads', c.log('node1'))
            c.kill('node1')
            c.kill('node2')  # and the member alone can tell
            self.start_old(c)
            self.told(c)
            found = c.job(job, 'node1')
            self.assertEqual((found['state'], found.get('attempt', 0)), ('PENDING', 0))
            self.assertIn('not the head any more', found['detail'])
            self.assertFalse((out / 'started').exists())
            c.start('node2')
            c.wait_state('node3', 'DRAINED')
            self.resume(c, 'node2')
            c.wait_job(job, ('SUCCEEDED',), 30)
            self.assertEqual(c.job(job, 'node1')['state'], 'PENDING')

            c.kill('node1')  # a head without its store is none either
            for file in c.state('node1').glob('reidd.db*'):
                file.unlink()
            self.start_old(c)
            self.told(c)

            c.stop('node1')  # as it should be
            c.start('node1')
            c.wait_up('node1')

    def test_old_head_takes_over(self):
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE)
        with cluster.Cluster(3, '--slots', '1') as c:
            job, _ = self.replace(c)
            self.told(c)
            c.kill('node1')
            self.start_old(c, '--take-over')
            c.head = 'node1'
            wait_for(lambda: 'node2 is not the head any more: node1 is' in c.nodes('node2')['node2'].get('note', ''), 20,
                     'node2 tells that it is not the head')
            self.resume(c, 'node1')
            c.wait_job(job, ('SUCCEEDED',), 30)
            self.assertEqual(c.job(job, 'node2')['state'], 'PENDING')


class Strangers(unittest.TestCase):
    def test_what_a_node_must_not_say(self):
        cluster.need_programs('reidd', 'reidctl', cluster.FAKE)
        try:
            import grpc  # noqa: F401
        except ImportError as missing:
            self.skipTest(f'{missing}; install it with: apt-get install python3-grpcio')
        with cluster.Cluster(2, '--slots', '1', start=False) as c:
            c.start('node1')
            done = c.hosts.run('node2', ['/usr/bin/python3', '-c', JOINER, c.folder / 'tls/node2', '10.77.0.1:7411'], timeout=100)
            lines = done.stdout.splitlines()
            self.assertEqual(len(lines), 5, done.stdout + done.stderr)
            self.assertIn('the reidd of node2', lines[0])
            self.assertIn('protocol', lines[0])
            self.assertEqual(lines[1:], [
                "PERMISSION_DENIED this is 'node2' by its certificate, not 'node3'",
                "PERMISSION_DENIED this is 'node2' by its certificate, not 'node1'",
                'FAILED_PRECONDITION the first message of a node is its hello',
                'DEADLINE_EXCEEDED nothing was heard of this peer for 5 s'])
            self.assertIn('protocol', c.nodes()['node2']['note'])

    def test_who_is_not_let_in(self):
        cluster.need_programs('reidd', 'reidctl', cluster.FAKE)
        with cluster.Cluster(3, '--slots', '1', start=False) as c:
            c.start('node1')
            # a certificate for another name
            shutil.rmtree(c.folder / 'tls/node2')
            shutil.copytree(c.folder / 'tls/node3', c.folder / 'tls/node2')
            c.start('node2', wait=False)
            c.daemons['node2'].wait(20)
            self.assertIn("the certificate is for 'node3' (node), but this is the node 'node2'", c.log('node2'))
            # a certificate of another authority
            shutil.rmtree(c.folder / 'tls/node2')
            other = c.folder / 'ca2'
            self.assertEqual(c.reidctl('ca', 'init', other).returncode, 0)
            done = c.reidctl('ca', 'issue', other, 'node2', '--hosts', '10.77.0.2', '--out', c.folder / 'tls/node2')
            self.assertEqual(done.returncode, 0, done.stderr)
            c.start('node2')
            wait_for(lambda: 'cluster without head' in c.log('node2'), 15, 'node2 is refused')
            self.assertEqual(c.nodes()['node2']['state'], 'DOWN')
            # another trainer than the head's
            c.start('node3', '--trainer', '/bin/true')
            wait_for(lambda: 'programs must be at the same place on all nodes' in c.log('node3'), 15, 'node3 is told why')
            node = c.nodes()['node3']
            self.assertEqual(node['state'], 'DOWN')
            self.assertIn("node3 has its trainer at '/bin/true'", node['note'])


class More(cluster.Case):
    """By hand: members.py More."""
    def test_second_reidd_of_one_name(self):
        """It is told so, and the first one stays."""
        c = self.cluster
        folder = c.folder / 'twin'
        folder.mkdir()
        shutil.copytree(c.folder / 'tls/node3', folder / 'tls/node3')
        (folder / 'cluster.yml').write_text(c.file.read_text().replace('10.77.0.3:7411', '10.77.0.2:7499'))
        with open(folder / 'log', 'wb') as log:
            twin = c.hosts.start('node2', [cluster.BIN / 'reidd', '--state-dir', folder, '--socket', f'unix:{folder}/sock', '--node', 'node3',
                                           '--cluster', folder / 'cluster.yml', '--tls-dir', folder / 'tls', *c.options],
                                 stdout=log, stderr=log)
        try:
            wait_for(lambda: 'another reidd is node3 already, at 10.77.0.3' in (folder / 'log').read_text(), 15, 'it is told')
            before = c.log('node3').count('cluster joined')
            time.sleep(6)
            self.assertEqual((c.nodes()['node3']['state'], c.log('node3').count('cluster joined')), ('UP', before))
        finally:
            c.hosts.kill(twin)
            twin.wait()

    def test_stopped_process_is_silent(self):
        self.cluster.kill('node2', signal.SIGSTOP)
        try:
            node = self.cluster.wait_state('node2', 'DOWN', 15)
            self.assertEqual(node['note'], 'nothing was heard of node2 for 5 s')
        finally:
            self.cluster.kill('node2', signal.SIGCONT)
        self.cluster.wait_up('node2')


if __name__ == '__main__':
    unittest.main(verbosity=2, argv=[sys.argv[0], *sys.argv[1:]])
