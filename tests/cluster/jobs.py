#!/usr/bin/python3
"""Jobs whose ranks are on several nodes, and everything that may be killed, stopped or cut under them.

Three nodes of two slots; trainers follow scripts (tests/unit/daemon/fake)."""
import json
import os
import re
import signal
import sys
import time
import unittest

import cluster
from cluster import PATIENCE, wait_for

# Runs until there is a file `go`.
WAITS = 'link\n0:progress 1 20\n0:rows 3\non-term 0\nout ready\nwait go\n0:rows 4\n0:last-row\nout over\n'
OVER = ('SUCCEEDED', 'FAILED', 'CANCELLED')


def first(line):
    return os.path.basename(line.split()[0])


def is_rank(line):
    return first(line) == 'reidd_fake_trainer'


def is_wrapper(line):
    return first(line) == 'reidd-shim' and '--rank-exec' in line


def is_part(line):
    return first(line) == 'reidd-shim' and '--part' in line


def is_supervisor(line):
    return first(line) == 'reidd-shim' and '--hosts' in line


class Jobs(cluster.Case):
    options = ('--slots', '2', '--grace', '2')

    def setUp(self):
        self.out = self.cluster.folder / self.id().split('.')[-1]
        self.out.mkdir()

        self.job = None

    def tearDown(self):
        if self.job and self.cluster.job(self.job)['state'] not in OVER:
            self.cluster.ctl('node1', 'cancel', self.job, '--grace', '0')
            self.wait_end(self.job)

    def submit(self, script, ranks=6, *more):
        (self.out / 'script').write_text(script)
        config = self.out / 'config.yml'
        config.write_text(f'OUTPUT_DIR: {self.out}\nSOLVER: {{IMS_PER_BATCH: 48}}\n')
        done = self.cluster.ctl('node1', 'submit', config, '-n', ranks, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.job = done.stdout.split()[-1]
        return self.job

    def start(self, *more, ranks=6, script=WAITS):
        job = self.submit(script, ranks, *more)
        self.cluster.wait_job(job, ('RUNNING',), 30)
        wait_for(lambda: len(self.processes(is_rank)) >= ranks and self.logs(job).count('ready') >= ranks, 20, 'all ranks are up')
        return job

    def logs(self, job, *more):
        return self.cluster.ctl('node1', 'logs', job, *more).stdout

    def go(self):
        (self.out / 'go').touch()

    def processes(self, wanted, node=None):
        """Those of jobs, by host: {(host, pid): command line}."""
        return {(host, pid): line for host in ([node] if node else self.cluster.hosts.inits)
                for pid, line in self.cluster.hosts.pids(host).items() if wanted(line)}

    def left(self):
        return self.processes(lambda line: first(line) in ('reidd-shim', 'reidd_fake_trainer', 'mpirun', 'orted') or ' agent node' in line)

    def kill(self, wanted, node, number=signal.SIGKILL):
        found = self.processes(wanted, node)
        self.assertTrue(found, f'nothing to kill on {node}')
        os.kill(min(found)[1], number)

    def wait_gone(self, seconds=10):
        start = time.monotonic()
        wait_for(lambda: not self.left(), seconds, f'nothing is left: {self.left()}')
        return time.monotonic() - start

    def wait_end(self, job, seconds=40):
        found = self.cluster.wait_job(job, OVER, seconds)
        self.wait_gone()
        for node in ('node2', 'node3'):
            if node in self.cluster.hosts.inits:
                wait_for(lambda: not list((self.cluster.state(node) / 'parts').glob('*')), 20, f'{node} has forgotten its part')
        return found

    def cause(self, job):
        return (self.cluster.job(job).get('failure') or {}).get('sentence', '')

    def rows(self, job):
        return [int(seq) for seq in re.findall(r'"seq": (\d+)', self.cluster.ctl('node1', 'metrics', job).stdout)]

    def attempts(self, job):
        """Attempt and number of each row, in the order of the store."""
        rows = map(json.loads, self.cluster.ctl('node1', 'metrics', job).stdout.splitlines())
        return [(row['attempt'], int(row['seq'])) for row in rows]

    def fail_by(self, wanted, node, sentence, number=signal.SIGKILL):
        job = self.start()
        start = time.monotonic()
        self.kill(wanted, node, number)
        self.wait_gone()
        took = time.monotonic() - start
        self.assertEqual(self.wait_end(job)['state'], 'FAILED')
        self.assertRegex(self.cause(job), sentence)
        print(f'{self.id().split(".")[-1]}: all gone after {took:.1f} s: {self.cause(job)}')
        self.assertEqual(self.rows(job), [1, 2, 3])
        self.assertLess(took, 5 * PATIENCE)

    def finish(self, job):
        self.go()
        found = self.wait_end(job)
        self.assertEqual((found['state'], found['attempt']), ('SUCCEEDED', 1), self.cause(job))
        self.assertEqual(self.rows(job), list(range(1, 8)))
        self.assertEqual(self.logs(job).count('] over\n'), 6)


class Suite(Jobs):
    def test_to_its_end(self):
        big = ''.join(f'{rank}:out {"x" * 400} {i}\n' for rank in (0, 3, 5) for i in range(300))
        job = self.submit(f'link\nenvironment REIDD_LINK\n{big}0:progress 1 20\n0:rows 50\n0:last-row\nout over\n5:err last words\n')
        found = self.wait_end(job)
        self.assertEqual(found['state'], 'SUCCEEDED', found)
        logs = self.logs(job)
        for rank in range(6):
            self.assertIn(f'[{rank}] over\n', logs)
        for rank in (0, 3, 5):
            self.assertEqual(re.findall(rf'^\[{rank}\] x{{400}} (\d+)$', logs, re.M), [str(i) for i in range(300)])
        self.assertIn('[5] last words\n', logs)
        for text in (self.logs(job), self.logs(job, '--rank', '-1')):
            self.assertRegex(text, r'(?m)^\[launcher\] .*shim ended')
            self.assertRegex(text, r'(?m)^\[launcher node2\] .*shim part ended')
            self.assertRegex(text, r'(?m)^\[launcher node3\] .*shim part ended')
        where = re.findall(r'REIDD_LINK=unix:\S+/(node\d)/', logs)
        self.assertEqual(sorted(where), ['node1'] * 2 + ['node2'] * 2 + ['node3'] * 2)
        self.assertEqual(self.rows(job), list(range(1, 51)))

    def test_cancel(self):
        job = self.start(script=WAITS.replace('out ready', 'grandchild\nout ready'))
        start = time.monotonic()
        done = self.cluster.ctl('node1', 'cancel', job, '--grace', '1')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.wait_gone()
        took = time.monotonic() - start
        print(f'cancel: ranks that ignore TERM are gone everywhere {took:.1f} s after it, 1 s of which is their grace')
        self.assertLess(took, 1 + 5 * PATIENCE)
        self.assertEqual(self.wait_end(job)['state'], 'CANCELLED')

    def test_killed_rank(self):
        self.fail_by(is_rank, 'node3', r'^rank [45] on node3 was killed by signal 9')

    def test_killed_orted(self):
        self.fail_by(lambda line: first(line) == 'orted', 'node2', r'^on node2: orted was killed by signal 9')

    def test_member_killed_and_started_again(self):
        job = self.start()
        self.cluster.kill('node3')
        self.assertEqual(len(self.processes(is_rank, 'node3')), 2)
        self.cluster.start('node3')
        self.cluster.wait_up('node3')
        self.finish(job)

    def test_head_killed_and_started_again(self):
        job = self.start()
        self.cluster.kill('node1')
        self.assertEqual(len(self.processes(is_rank)), 6)
        self.cluster.start('node1')
        self.cluster.wait_up('node2', 'node3')
        self.assertEqual(self.cluster.job(job)['state'], 'RUNNING')
        self.finish(job)

    def test_agents_with_other_words(self):
        """A rank knows its ticket: it may not have anything but orted started, and orted not by another mpirun."""
        job = self.start()
        pid = min(self.processes(is_rank, 'node1'))[1]
        with open(f'/proc/{pid}/environ', 'rb') as file:
            entries = dict(e.split('=', 1) for e in file.read().decode().split('\0') if '=' in e)
        known = {**os.environ, **{k: v for k, v in entries.items() if k.startswith('REIDD_')}}
        for ticket, words, sentence in (
                (known['REIDD_TICKET'], ['node2', 'sh', '-c', 'id'], 'agent already'),
                (known['REIDD_TICKET'], ['node9', 'orted'], "has no ranks on 'node9'"),
                ('0' * 32, ['node2', 'orted'], 'the ticket is not that of attempt 1')):
            done = self.cluster.hosts.run('node1', [cluster.BIN / 'reidctl', 'agent', *words], env={**known, 'REIDD_TICKET': ticket})
            self.assertEqual(done.returncode, 255)
            self.assertIn(sentence, done.stderr)
        self.finish(job)

    def test_cut_cable(self):
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2', ranks=4)
        nodes = {host for host, _ in self.processes(is_rank)} - {'node1'}
        victim = max(nodes)
        start = time.monotonic()
        self.cluster.hosts.cut(victim)
        try:
            wait_for(lambda: self.cluster.job(job)['attempt'] == 2 and self.cluster.job(job)['state'] == 'RUNNING', 30, 'restarted')
            print(f'cut: runs on the other nodes after {time.monotonic() - start:.1f} s')
            wait_for(lambda: not [line for (host, _), line in self.left().items() if host == victim], 30,
                     'the ranks that are cut off have ended')
            print(f'cut: nothing runs on {victim} after {time.monotonic() - start:.1f} s')
            self.assertEqual(len(self.processes(is_rank)), 4)
            events = self.cluster.ctl('node1', 'events', job).stdout
            self.assertIn(f'{victim} was lost: nothing was heard of {victim} for 5 s', events)
        finally:
            self.cluster.hosts.heal(victim)
        self.cluster.wait_up(victim)
        self.go()
        found = self.wait_end(job)
        self.assertEqual((found['state'], found['attempt']), ('SUCCEEDED', 2))

    def test_what_was_written_on_a_node_that_was_given_up(self):
        """Lines and rows from behind a cut cable are there when the node is back, though the job has gone on without it."""
        written = WAITS.replace('wait go', 'in-attempt 1\nwait more\nout behind the cut\n0:rows 40\nmark said\nwait never\nin-attempt 0\nwait go')
        self.cluster.ctl('node1', 'nodes', 'drain', 'node1')  # rank 0 is on the node that is cut off
        try:
            job = self.start('--max-restarts', '1', '--restart-backoff', '0.2', ranks=2, script=written)
            victim = min({host for host, _ in self.processes(is_rank)})
            self.assertNotEqual(victim, 'node1')
            self.cluster.hosts.cut(victim)
            try:
                (self.out / 'more').touch()
                wait_for(lambda: self.cluster.job(job)['attempt'] == 2 and self.cluster.job(job)['state'] == 'RUNNING', 30, 'restarted')
                wait_for((self.out / 'said').exists, 20, 'the rows are written')
                self.assertEqual([a for a, _ in self.attempts(job)].count(1), 3)
                self.go()
                self.assertEqual(self.cluster.wait_job(job, OVER)['state'], 'SUCCEEDED')
            finally:
                self.cluster.hosts.heal(victim)
        finally:
            self.cluster.ctl('node1', 'nodes', 'resume', 'node1')
        self.cluster.wait_up(victim)
        self.wait_end(job)
        logs = self.logs(job, '--attempt', '1')
        for rank in range(2):
            self.assertIn(f'[{rank}] behind the cut\n', logs)
        self.assertEqual(self.attempts(job), [(1, seq) for seq in range(1, 44)] + [(2, seq) for seq in range(1, 8)])
        self.assertIn(f'{victim} is back, with 40 metric rows of attempt 1', self.cluster.ctl('node1', 'events', job).stdout)


class More(Jobs):
    """Not in the suite: jobs.py More."""
    def test_cancel_of_stopped_processes(self):
        job = self.start()
        self.kill(lambda line: first(line) == 'orted', 'node2', signal.SIGSTOP)
        self.kill(is_rank, 'node3', signal.SIGSTOP)
        self.kill(lambda line: first(line) == 'mpirun', 'node1', signal.SIGSTOP)
        start = time.monotonic()
        self.cluster.ctl('node1', 'cancel', job, '--grace', '1')
        self.wait_gone()
        self.assertLess(time.monotonic() - start, 1 + 5 * PATIENCE)
        self.assertEqual(self.wait_end(job)['state'], 'CANCELLED')

    def test_fewer_ranks_on_what_is_left(self):
        """A job that needs all three nodes goes on with fewer ranks on two of them."""
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2', '--min-ranks', '3', ranks=6)
        start = time.monotonic()
        self.cluster.hosts.cut('node3')
        try:
            wait_for(lambda: self.cluster.job(job)['attempt'] == 2 and self.cluster.job(job)['state'] == 'RUNNING', 30, 'restarted')
            print(f'cut: runs with fewer ranks after {time.monotonic() - start:.1f} s')
            found = self.cluster.job(job)
            self.assertEqual((found['ranks'], found['wanted_ranks'], found['placement']), (4, 6, 'node1:2,node2:2'))
            self.assertIn('runs on 4 of 6 ranks', found['detail'])
        finally:
            self.cluster.hosts.heal('node3')
        self.cluster.wait_up('node3')
        self.go()
        self.assertEqual(self.wait_end(job)['state'], 'SUCCEEDED')

    def test_crashed_rank_beside_mpirun(self):
        self.fail_by(is_rank, 'node1', r'^rank [01] on node1 was killed by signal 11', signal.SIGSEGV)

    def test_killed_part(self):
        self.fail_by(is_part, 'node3', r"^on node3: the job's supervisor was killed")

    def test_killed_agent(self):
        self.fail_by(lambda line: first(line) == 'reidctl' and ' agent node2 ' in line, 'node1', "^mpirun's agent for node2 was killed")

    def test_killed_mpirun(self):
        self.fail_by(lambda line: first(line) == 'mpirun', 'node1', r'^mpirun was killed by signal 9')

    def test_killed_supervisor(self):
        self.fail_by(is_supervisor, 'node1', "^the job's supervisor was killed")

    def test_rank_with_last_words(self):
        job = self.submit(WAITS.replace('out ready', '4:words the loss is not finite\n4:exit 3\nout ready'))
        self.assertEqual(self.wait_end(job)['state'], 'FAILED')
        self.assertIn('the loss is not finite', self.cause(job))
        self.assertEqual(self.cluster.job(job)['failure']['rank'], 4)

    def test_all_stopped_and_started_again(self):
        job = self.start()
        for node in self.cluster.names:
            self.cluster.stop(node)
        self.assertEqual(len(self.processes(is_rank)), 6)
        for node in self.cluster.names:
            self.cluster.start(node)
        self.cluster.wait_up('node2', 'node3')
        self.finish(job)


    def test_cut_cable_with_fewer_ranks(self):
        """All slots were taken: it goes on with those that are left."""
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2', '--min-ranks', '2')
        start = time.monotonic()
        self.cluster.hosts.cut('node3')
        try:
            wait_for(lambda: self.cluster.job(job)['attempt'] == 2 and self.cluster.job(job)['state'] == 'RUNNING', 30, 'restarted')
            print(f'cut: runs with fewer ranks after {time.monotonic() - start:.1f} s')
            wait_for(lambda: len(self.processes(is_rank)) == 4, 30, 'four ranks run')
        finally:
            self.cluster.hosts.heal('node3')
        self.cluster.wait_up('node3')
        self.go()
        self.assertEqual(self.wait_end(job)['state'], 'SUCCEEDED')

    def test_cuts_that_heal(self):
        """Three seconds, and again and again: nobody is lost, and the job knows nothing of it."""
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2')
        for away, back in ((3, 6), *[(2, 2)] * 5):
            self.cluster.hosts.cut('node2')
            time.sleep(away)
            self.cluster.hosts.heal('node2')
            time.sleep(back)
        self.cluster.wait_up('node2')
        self.finish(job)

    def test_head_that_slept(self):
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2')
        self.cluster.kill('node1', signal.SIGSTOP)
        time.sleep(8)
        self.cluster.kill('node1', signal.SIGCONT)
        wait_for(lambda: self.cluster.ctl('node1', 'version').returncode == 0, 20, 'it is awake')
        self.cluster.wait_up('node2', 'node3')
        self.finish(job)

    def test_head_that_is_cut_off(self):
        """Its jobs end everywhere, wait for their nodes, and go on."""
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2')
        self.cluster.hosts.cut('node1')
        try:
            wait_for(lambda: {host for host, _ in self.left()} <= {'node1'}, 40, 'nothing runs on the members')
            wait_for(lambda: self.cluster.job(job)['state'] == 'PENDING', 30, 'it waits')
            self.assertRegex(self.cluster.job(job)['detail'], 'waits for 6 slots: node2 is down')
        finally:
            self.cluster.hosts.heal('node1')
        wait_for(lambda: self.cluster.job(job)['state'] == 'RUNNING', 30, 'it goes on')
        self.go()
        found = self.wait_end(job)
        self.assertEqual((found['state'], found['attempt']), ('SUCCEEDED', 2))

    def test_members_that_do_not_reach_each_other(self):
        """The head reaches both, so only they can tell."""
        job = self.start('--max-restarts', '1', '--restart-backoff', '0.2')
        time.sleep(3)  # they have asked each other
        start = time.monotonic()
        self.cluster.hosts.part('node2', 'node3')
        try:
            wait_for(lambda: 'node2 and node3 do not reach each other' in self.cluster.ctl('node1', 'events', job).stdout, 30, 'told')
            print(f'parted: told and stopped after {time.monotonic() - start:.1f} s')
        finally:
            self.cluster.hosts.unpart('node2', 'node3')
        wait_for(lambda: self.cluster.job(job)['attempt'] == 2 and self.cluster.job(job)['state'] == 'RUNNING', 30, 'restarted')
        self.go()
        self.assertEqual(self.wait_end(job)['state'], 'SUCCEEDED')


class Clocks(Jobs):
    """Clocks of the members are wrong: still, the rank that failed first is blamed."""
    @classmethod
    def setUpClass(cls):
        preload = cluster.BUILD / 'tests/reid_test_clock.so'
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE, preload)
        cls.cluster = cluster.Cluster(cls.count, *cls.options, start=False).__enter__()
        for name, seconds in (('node1', None), ('node2', 3), ('node3', -5)):
            if seconds:
                cls.set_clock(name, seconds)
                cls.cluster.environment[name] = {'LD_PRELOAD': str(preload), 'REID_TEST_CLOCK': str(cls.cluster.folder / f'clock-{name}')}
            cls.cluster.start(name)
        cls.cluster.wait_up(*cls.cluster.names)

    @classmethod
    def set_clock(cls, name, seconds):
        (cls.cluster.folder / f'clock-{name}').write_text(str(seconds))

    def test_killed_rank_in_the_future(self):
        self.fail_by(is_rank, 'node2', r'^rank [23] on node2 was killed by signal 9')
        self.assertIn('node clock name=node2: it is 3.0 s ahead of the head', self.cluster.log('node1'))
        self.assertIn('node clock name=node3: it is 5.0 s behind the head', self.cluster.log('node1'))

    def test_killed_wrapper_beside_the_head(self):
        """node3 says that its ranks were ended long before that."""
        self.fail_by(is_wrapper, 'node1', r'^rank [01] on node1 was killed by signal 9')

    def test_clock_that_is_set(self):
        job = self.start()
        self.set_clock('node2', 3600)
        wait_for(lambda: 'node2: it is 3600.0 s' in self.cluster.log('node1'), 20, 'the head knows')
        self.kill(is_wrapper, 'node3')
        self.assertEqual(self.wait_end(job)['state'], 'FAILED')
        self.assertRegex(self.cause(job), r'^rank [45] on node3 was killed by signal 9')
        self.set_clock('node2', 3)


class Slow(Jobs):
    """Cables that take their time, and lose things."""
    @classmethod
    def setUpClass(cls):
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE)
        cls.cluster = cluster.Cluster(cls.count, *cls.options, start=False, slow=True).__enter__()
        for name in cls.cluster.names:
            cls.cluster.start(name)

    def check(self, *slow, **more):
        """Joins, a job to its end, a cancel; and nobody is taken for lost."""
        for name in self.cluster.names:
            self.cluster.hosts.slow(name, *slow, **more)
        self.cluster.wait_up(*self.cluster.names, seconds=40)
        before = len(self.cluster.log('node1'))
        start = time.monotonic()
        job = self.start()
        print(f'{slow} {more}: all ranks are up after {time.monotonic() - start:.1f} s')
        self.finish(job)
        (self.out / 'go').unlink()
        job = self.start()
        start = time.monotonic()
        self.assertEqual(self.cluster.ctl('node1', 'cancel', job, '--grace', '1').returncode, 0)
        self.wait_gone()
        took = time.monotonic() - start
        print(f'{slow} {more}: cancel: all gone after {took:.1f} s, 1 s of which is the grace')
        self.assertLess(took, 1 + 5 * PATIENCE)
        self.assertEqual(self.wait_end(job)['state'], 'CANCELLED')
        self.assertNotIn('node down', self.cluster.log('node1')[before:])

    def test_delay_and_loss(self):
        self.check(25, 5, loss=.01)  # 100 ms there and back, between any two


class Stalls(Jobs):
    options = ('--slots', '2', '--grace', '2', '--stall-notice', '2')

    def test_who_waits_for_whom(self):
        """The rank that the others wait for is on another node; so are most of those who know."""
        script = ('link\n0:phase 2\n0:progress 1 20\n0:rows 1\n0:last-row\n0:flight 7\n1:flight 7\n2:flight 7\n3:flight 7\n4:flight 6\n5:flight 7\n'
                  'on-term 143\nout ready\nwait go\n3:kill 9\nwait never\n')
        job = self.start(script=script)
        wait_for(lambda: 'stall' in self.cluster.ctl('node1', 'events', job).stdout, 30, 'the stall is told')
        self.assertRegex(self.cluster.job(job)['detail'], 'rank 4 has not finished all-reduce 6|rank 4 has not come to all-reduce 7')
        self.go()
        self.wait_end(job)
        events = self.cluster.ctl('node1', 'events', job).stdout
        self.assertRegex(events, r'stall +rank 4 has not ')
        self.assertRegex(events, r'flight +rank 4 has not ')
        self.assertNotIn('nothing is known', events)


class WithoutNetwork(Jobs):
    """The cluster file names no network: MPI keeps to the nodes' own addresses."""
    count = 2

    @classmethod
    def setUpClass(cls):
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE)
        cls.cluster = cluster.Cluster(cls.count, *cls.options, start=False).__enter__()
        cls.cluster.file.write_text(cls.cluster.file.read_text().split('\n', 1)[1])
        for name in cls.cluster.names:
            cls.cluster.start(name)

    def setUp(self):
        super().setUp()
        self.cluster.wait_up(*self.cluster.names)

    def test_to_its_end(self):
        job = self.submit('link\nenvironment OMPI_MCA_btl_tcp_if_include\nout over\n', 4)
        self.assertEqual(self.wait_end(job)['state'], 'SUCCEEDED')
        used = re.findall(r'if_include=(\S+)', self.logs(job))
        self.assertEqual(sorted(used), ['10.77.0.1/31'] * 2 + ['10.77.0.2/31'] * 2)

    def test_head_without_slots(self):
        """It only schedules: ranks are on the other node, and on no other."""
        def restart(*more):
            self.cluster.stop('node1')
            self.cluster.start('node1', *more)
        self.addCleanup(restart)
        restart('--slots', '0')
        self.cluster.wait_up('node1', 'node2')
        self.assertRegex(self.cluster.ctl('node1', 'nodes').stdout, 'node1 +UP +0 ')
        for ranks in (2, 1):
            job = self.submit('link\nout over\n', ranks)
            found = self.wait_end(job)
            self.assertEqual((found['state'], found['placement']), ('SUCCEEDED', f'node2:{ranks}'))
            self.assertEqual(self.logs(job).count('over'), ranks)
        done = self.cluster.ctl('node1', 'submit', '-n', '3', self.out / 'config.yml')
        self.assertIn('the job needs 3 slots, and the nodes that can be used together have 2', done.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2, argv=[sys.argv[0], *(sys.argv[1:] or ['Suite', 'WithoutNetwork', 'Slow', 'Clocks.test_killed_rank_in_the_future'])])
