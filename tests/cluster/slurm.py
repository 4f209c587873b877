#!/usr/bin/python3
"""deploy/slurm/reidd.sbatch with stand-ins for srun, scancel and scontrol that know as much of Slurm as it uses."""
import os
import signal
import subprocess
import sys
import unittest

import cluster
from cluster import wait_for

SCONTROL = '''#!/bin/bash
[ "$*" = "show hostnames node[1-2]" ] || exit 9
printf 'node1\\nnode2\\n'
'''
# A signal for the only step: as Slurm does, it goes to each process.
SCANCEL = '''#!/bin/bash
[ "$*" = "--signal=TERM 7.0" ] || exit 9
for node in node1 node2; do {shell} $node pkill -TERM -x reidd; done
'''
# One task per node.
SRUN = '''#!/usr/bin/python3
import os, shlex, subprocess, sys
words = sys.argv[1:]
while words[0].startswith('--'):
    words.pop(0)
def command(number, node):
    return ['{shell}', node, 'env', '-i', *(shlex.quote(f'{k}={v}') for k, v in os.environ.items()), 'SLURMD_NODENAME=' + node,
            f'SLURM_NODEID={number}', *map(shlex.quote, words)]
tasks = [subprocess.Popen(command(*pair)) for pair in enumerate(('node1', 'node2'))]
sys.exit(max(task.wait() for task in tasks))
'''


class Slurm(unittest.TestCase):
    def start(self, c, *words):
        tools = c.folder / 'tools'
        tools.mkdir()
        shell = str(c.hosts.remote_shell())
        for name, text in (('scontrol', SCONTROL), ('scancel', SCANCEL), ('srun', SRUN)):
            (tools / name).write_text(text.replace('{shell}', shell))
            (tools / name).chmod(0o755)
        environment = {'PATH': f'{tools}:{cluster.BIN}:{os.environ["PATH"]}', 'HOME': str(c.folder), 'SLURM_JOB_ID': '7',
                       'SLURM_JOB_NODELIST': 'node[1-2]', 'REIDD_LOCAL': str(c.folder / 'local'),
                       'REIDD_OPTIONS': f'--slots 1 --trainer {cluster.FAKE}'}
        return c.hosts.start('node1', ['bash', cluster.ROOT / 'deploy/slurm/reidd.sbatch', *words], env=environment,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def setUp(self):
        cluster.need_programs('reidd', 'reidctl', 'reidd-shim', cluster.FAKE)

    def ctl(self, c, *words):
        return c.hosts.run('node1', [cluster.BIN / 'reidctl', '-H', f'unix:{c.folder}/local/node1/reidd.sock', *words])

    def put_away(self, c):
        self.assertEqual({p.name for p in (c.folder / 'reidd-7/log').iterdir()}, set(), 'srun writes there, not its stand-in')
        self.assertTrue((c.folder / 'reidd-7/reidd.db').exists())
        for name in c.names:
            wait_for(lambda n=name: not c.hosts.pids(n, 'reidd'), 20, f'nothing runs on {name}')

    def job(self, c, script):
        out = c.folder / 'out'
        out.mkdir()
        (out / 'script').write_text(script)
        config = c.folder / 'job.yml'
        config.write_text(f'OUTPUT_DIR: {out}\n')
        return config, out

    def test_one_job(self):
        with cluster.Cluster(2, start=False) as c:
            config, _ = self.job(c, 'exit 3\n')
            process = self.start(c, '--name', 'one', config)
            text = process.communicate(timeout=90 * cluster.PATIENCE)[0]
            self.assertEqual(process.returncode, 3, text)
            self.assertIn('runs on node1 node2; logs and certificates are in', text)
            self.assertIn("node1, address: 'tcp://10.77.0.1:7411'", (c.folder / 'reidd-7/cluster.yml').read_text())
            self.put_away(c)

    def test_end_of_the_allocation(self):
        with cluster.Cluster(2, start=False) as c:
            config, out = self.job(c, 'link\nphase 2\non-term 143\nmark started\nwait never\n')
            process = self.start(c, config)
            wait_for((out / 'started').exists, 60, 'the job runs')
            self.assertEqual(len(self.ctl(c, 'nodes', '--no-headers').stdout.splitlines()), 2)
            c.hosts.kill(process, signal.SIGTERM)  # as Slurm does, the script alone
            text = process.communicate(timeout=60 * cluster.PATIENCE)[0]
            self.assertEqual(process.returncode, 143, text)
            self.assertIn('was cancelled', text)
            self.put_away(c)


if __name__ == '__main__':
    unittest.main(verbosity=2, argv=[sys.argv[0], *sys.argv[1:]])
