#!/usr/bin/python3
"""GPUs as slots, on a machine without any: reidd with a stand-in for the driver's library, and trainers that follow a
script. Which rank sees which GPU, what nodes and top say, restarts, GPUs that are lost."""
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

from common import BIN, CONFIG, Case, Daemon, needs_mpi, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'cli'))
from terminal import Terminal  # noqa: E402

BUILD = BIN.parent
TRAINER = BUILD / 'tests/reidd_fake_trainer'
GPUS = [f'GPU-0000000{i}-aaaa-bbbb-cccc-dddddddddddd' for i in range(4)]
GIB = 1 << 30


def weather(path, gpus, **changes):
    """The file that the stand-in reads (tests/emulation/nvml)."""
    lines = ['driver 580.65.06']
    for number, uuid in enumerate(gpus):
        lines += [f'gpu {uuid}', 'name NVIDIA H100 80GB HBM3', f'memory {80 * GIB} {(number + 1) * GIB}',
                  f'use {10 * number + 7} 3', f'temperature {40 + number}', 'power 120500 700000', 'clock 1980 1980']
        lines += changes.get(f'gpu{number}', [])
    fresh = path.with_suffix('.new')
    fresh.write_text('\n'.join(lines) + '\n')
    fresh.rename(path)


class GpuCase(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.weather = cls.folder / 'nvml.txt'
        cls.before = {name: os.environ.get(name) for name in ('LD_LIBRARY_PATH', 'REID_FAKE_NVML')}
        os.environ['LD_LIBRARY_PATH'] = str(BUILD / 'lib/nvml')
        os.environ['REID_FAKE_NVML'] = str(cls.weather)

    @classmethod
    def tearDownClass(cls):
        for name, value in cls.before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        super().tearDownClass()

    def setUp(self):
        weather(self.weather, GPUS)
        self.daemon = None

    def tearDown(self):
        if self.daemon:
            for job in self.listed('-a'):
                if job['state'] in ('PENDING', 'STARTING', 'RUNNING'):
                    self.daemon.ctl('cancel', job['id'], '--grace', '0')
            wait_for(lambda: not self.listed(), 20, 'no job is left')
            self.daemon.stop()

    def start(self, *options):
        self.daemon = Daemon(self.folder / self.id().rsplit('.', 1)[1][:24], '--trainer', str(TRAINER), *options)
        return self.daemon

    def listed(self, *flags):
        return json.loads(self.daemon.ctl('ps', *flags, '-o', 'json').stdout)

    def submit(self, name, ranks=1, script=()):
        out = self.daemon.state / name
        out.mkdir()
        (out / 'script').write_text('\n'.join(['environment CUDA_VISIBLE_DEVICES', 'link', 'phase 2', 'progress 1 100',
                                               *script, 'wait go', 'exit 0']) + '\n')
        done = self.daemon.ctl('submit', CONFIG, '-n', ranks, '--name', name, '-o', 'json', *self.overrides(out))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)['id']

    def finish(self, name):
        (self.daemon.state / name / 'go').write_text('')
        self.daemon.wait_state(name, ['SUCCEEDED'], 30)

    def visible(self, name, ranks=1):
        """CUDA_VISIBLE_DEVICES of each rank."""
        self.daemon.wait_state(name, ['RUNNING'], 30)

        def told():
            found = re.findall(r'CUDA_VISIBLE_DEVICES=(.*)\n', self.daemon.ctl('logs', name).stdout)
            return found if len(found) == ranks else None
        return wait_for(told, 30, f'{ranks} ranks tell what they see')

    def node(self):
        nodes = json.loads(self.daemon.ctl('nodes', '-o', 'json').stdout)
        self.assertEqual(len(nodes), 1)
        return nodes[0]

    def holders(self):
        return [(gpu['job'], gpu['rank']) for gpu in self.node()['gpus']]


class Slots(GpuCase):
    def test_each_gpu_is_a_slot_of_one_job(self):
        daemon = self.start()
        self.assertEqual((self.node()['slots'], self.node()['slots_used']), (4, 0))
        a, b = self.submit('a'), self.submit('b')
        self.assertEqual(self.visible('a'), [GPUS[0]])
        self.assertEqual(self.visible('b'), [GPUS[1]])
        self.assertEqual(self.holders(), [(a, 0), (b, 0), (None, None), (None, None)])
        self.finish('a')
        c = self.submit('c')
        self.assertEqual(self.visible('c'), [GPUS[0]])  # the freed one
        self.assertEqual(self.holders(), [(c, 0), (b, 0), (None, None), (None, None)])
        refused = daemon.ctl('submit', CONFIG, '-n', '8', *self.overrides(daemon.state / 'x'))
        self.assertEqual(refused.returncode, 5)
        self.assertIn('4', refused.stderr)

    @needs_mpi
    def test_ranks_see_all_gpus_of_their_job_in_one_order(self):
        self.start()
        self.submit('one')
        self.visible('one')
        many = self.submit('many', ranks=2)
        self.assertEqual(self.visible('many', ranks=2), [f'{GPUS[1]},{GPUS[2]}'] * 2)
        self.assertEqual(self.holders()[1:], [(many, 0), (many, 1), (None, None)])
        waits = self.submit('waits', ranks=2)  # one GPU is left
        self.assertEqual(self.daemon.job(waits)['state'], 'PENDING')
        self.finish('many')
        self.assertEqual(self.visible('waits', ranks=2), [f'{GPUS[1]},{GPUS[2]}'] * 2)

    def test_a_restarted_daemon_knows_who_has_which(self):
        daemon = self.start()
        self.submit('first')
        second = self.submit('second')
        self.visible('first'), self.visible('second')
        self.finish('first')
        daemon.kill()
        weather(self.weather, [GPUS[2], GPUS[1], GPUS[0], GPUS[3]])  # other numbers after a reboot
        daemon.start()
        self.assertEqual([gpu['uuid'] for gpu in self.node()['gpus']], [GPUS[2], GPUS[1], GPUS[0], GPUS[3]])
        self.assertEqual(self.holders(), [(None, None), (second, 0), (None, None), (None, None)])
        self.submit('third'), self.submit('fourth')
        self.assertEqual(self.visible('third'), [GPUS[2]])
        self.assertEqual(self.visible('fourth'), [GPUS[0]])

    def test_what_is_offered_can_be_chosen(self):
        daemon = self.start('--gpus', f'{GPUS[3]},{GPUS[1]}')
        self.assertEqual(self.node()['slots'], 2)
        self.assertEqual([gpu['offered'] for gpu in self.node()['gpus']], [False, True, False, True])
        self.submit('a')
        self.assertEqual(self.visible('a'), [GPUS[3]])
        self.assertNotEqual(daemon.ctl('submit', CONFIG, '-n', '3', *self.overrides(daemon.state / 'x')).returncode, 0)

    def test_slots_are_cores_where_somebody_says_so(self):
        self.start('--slots', '3')
        self.assertEqual(self.node()['slots'], 3)
        self.assertEqual(len(self.node()['gpus']), 4)  # seen, not offered
        self.assertFalse(any(gpu['offered'] for gpu in self.node()['gpus']))
        self.submit('a')
        self.assertEqual(self.visible('a'), [os.environ.get('CUDA_VISIBLE_DEVICES', '(not set)')])

    def test_a_gpu_that_is_not_there_is_a_sentence(self):
        for words, sentence in ((['--gpus', f'{GPUS[0]},GPU-nowhere'], "this node has no GPU 'GPU-nowhere'; it has 4"),
                                (['--gpus', 'auto', '--slots', '2'], 'each GPU is one slot')):
            done = subprocess.run([BIN / 'reidd', '--state-dir', self.folder / 'refused', '--socket',
                                   f"unix:{self.folder / 'refused.sock'}", *words],
                                  capture_output=True, text=True, timeout=20)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(sentence, done.stderr)

    def test_without_a_driver_there_are_cores_and_a_note(self):
        self.weather.unlink()
        self.start()
        node = self.node()
        self.assertEqual((node['gpus'], node['slots']), ([], len(os.sched_getaffinity(0))))
        self.assertEqual(node['gpu_note'], 'no GPUs can be listed: NVML does not start: Driver Not Loaded')
        self.assertIn('NVML does not start', self.daemon.ctl('top').stdout)
        weather(self.weather, GPUS[:1])  # loaded later: seen without a restart
        wait_for(lambda: len(self.node()['gpus']) == 1, 10, 'the GPU is seen')


class Looking(GpuCase):
    def test_all_figures_of_the_driver(self):
        weather(self.weather, GPUS[:2], gpu1=['throttle 0x24', 'process 4711 1048576', 'fail nvmlDeviceGetPowerUsage 3'])
        self.start()
        node = self.node()
        self.assertEqual(node['gpu_driver'], '580.65.06')
        self.assertGreater(node['memory_total_bytes'], node['memory_available_bytes'])
        self.assertGreater(node['memory_available_bytes'], 0)
        self.assertEqual(node['cpus'], len(os.sched_getaffinity(0)))
        one, two = node['gpus']
        self.assertEqual((one['index'], one['uuid'], one['name']), (0, GPUS[0], 'NVIDIA H100 80GB HBM3'))
        self.assertEqual((two['memory_total_bytes'], two['memory_used_bytes']), (80 * GIB, 2 * GIB))
        self.assertEqual((two['utilization_percent'], two['temperature_celsius']), (17, 41))
        self.assertEqual((one['power_watts'], two['power_watts']), (120.5, None))
        self.assertEqual((one['throttle'], two['throttle']), ([], ['power-cap', 'thermal']))
        self.assertEqual(two['processes'], [{'pid': 4711, 'memory_bytes': 1048576}])

    def test_tables(self):
        weather(self.weather, GPUS[:3], gpu2=['throttle 0x40'])
        self.start()
        job = self.submit('train', script=['rows 5', 'last-row', 'progress 5 100'])
        self.daemon.wait_state('train', ['RUNNING'], 30)
        wait_for(lambda: self.node()['jobs'][0]['iteration'] == 5, 10, 'the progress is told')
        head, row = self.daemon.ctl('nodes').stdout.splitlines()
        self.assertEqual(head.split()[:5], ['NODE', 'STATE', 'SLOTS', 'USED', 'JOBS'])
        self.assertEqual(row.split()[1:5], ['UP', '3', '1', '1'])
        self.assertIn('3xH100-80GB-HBM3', row)
        about, head, *rows = self.daemon.ctl('top').stdout.splitlines()
        self.assertIn('1 of 3 slots used', about)
        self.assertIn('driver 580.65.06', about)
        cells = [dict(zip(head.split(), line.split())) for line in rows]
        self.assertEqual([c['GPU'] for c in cells], ['0', '1', '2'])
        self.assertEqual((cells[0]['JOB'], cells[0]['RANK'], cells[0]['ITERATION']), (job, '0', '5/100'))
        self.assertEqual((cells[1]['JOB'], cells[1]['RANK']), ('free', '-'))
        self.assertEqual((cells[0]['UTIL'], cells[0]['MEMORY'], cells[0]['TEMP'], cells[0]['POWER']),
                         ('7%', '1.0/80.0GiB', '40C', '120/700W'))
        self.assertEqual((cells[1]['THROTTLE'], cells[2]['THROTTLE']), ('-', 'hardware-heat'))
        self.assertEqual(len({len(line.split()) for line in rows}), 1)  # one word a cell
        self.assertEqual([line.split() for line in self.daemon.ctl('top', '--no-headers').stdout.splitlines()],
                         [line.split() for line in rows])

    def test_a_lost_gpu_is_named_and_not_offered(self):
        weather(self.weather, GPUS[:2], gpu1=['fail nvmlDeviceGetUUID 15'])
        self.start()
        self.assertEqual(self.node()['slots'], 1)
        self.assertEqual(self.node()['gpus'][1]['trouble'], 'GPU 1 does not answer: GPU is lost')
        self.assertIn('GPU 1 does not answer: GPU is lost', self.daemon.ctl('top').stdout)

    def test_top_is_live_and_survives_a_restart(self):
        daemon = self.start()
        terminal = Terminal([str(BIN / 'reidctl'), '-H', f'unix:{daemon.socket}', 'top', '--interval', '0.1'],
                            columns=150, env={**os.environ, 'TERM': 'xterm'})
        terminal.wait_text('1.0/80.0GiB')
        weather(self.weather, GPUS, gpu0=['use 99 99'])
        terminal.wait_text(' 99% ')
        daemon.stop()
        terminal.wait_text('reidd is away; looking for it')
        daemon.start()
        terminal.wait_text('of 4 slots used')
        self.assertNotIn('away', terminal.screen().text())
        self.assertEqual(terminal.screen().text().count('H100'), 4)  # one picture, redrawn in its place
        terminal.type('\x03')
        self.assertEqual(terminal.finish(), 0)


if __name__ == '__main__':
    unittest.main(verbosity=2)
