#!/usr/bin/python3
"""Forks: a run that begins with the state that another one had, to the bit, and goes on by itself."""
import hashlib
import json
import shutil

import common

# 30 iterations, 6 in an epoch; checkpoints of 12, 24 and 30.
OPTIONS = ['SOLVER.MAX_EPOCH', '5', 'SOLVER.CHECKPOINT_PERIOD', '2', 'SOLVER.WARMUP_ITERS', '10', 'INPUT.REA.ENABLED',
           'True', 'TEST.EVAL_PERIOD', '3']
EARLY = (['lr=1e-4', '--at-iter', '8'], ['flip_prob=0.9', 'weight_decay=0.01', '--at-iter', '14'])
LATE = ['lr_factor=3', 'rea_prob=0', '--at-iter', '22']
RANKS = common.RANKS
# Wishes that belong to what was before 16 (of after_step 15), and one that is wished again there.
SCRIPT = """
state.steps = 0
function before_step(trainer)
    if trainer.iter % 8 == 0 then trainer:set{weight_decay = 0.001 * state.steps} end
end
function after_step(trainer)
    state.steps = state.steps + 1
    if trainer.iter % 4 == 3 then trainer:set{lr_factor = 1 + state.steps / 100} end
end
"""


def check_chain(text):
    """The entries of a journal whose every line follows the one before it."""
    entries, previous = [], '0' * 64
    for line in text.splitlines():
        body, digest = line.rsplit(',"hash":"', 1)
        assert hashlib.sha256(body.encode()).hexdigest() == digest[:64], line
        entry = json.loads(line)
        assert (entry['prev_hash'], entry['seq']) == (previous, len(entries) + 1), line
        previous = entry['hash']
        entries.append(entry)
    return entries


def tree(folder):
    """Everything below a folder: names, sizes, times."""
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob('*')}


class Fork(common.Case):
    """`source` has early and late words, `plain` the early ones."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = common.Daemon(cls.folder / 'd', '--slots', str(RANKS))
        for name, turns in (('plain', [EARLY]), ('source', [EARLY, [LATE]])):
            case = cls()
            done = cls.daemon.ctl('submit', '--name', name, '-n', RANKS, common.CONFIG, *case.overrides(name, *OPTIONS))
            assert done.returncode == 0, done.stderr
            for words in turns:
                for done in cls.daemon.ctl_at_once(*[['set', name, *word] for word in words]):
                    assert done.returncode == 0, done.stderr
            cls.daemon.wait_state(name, ('SUCCEEDED',), 120)
        cls.source = cls.folder / 'source'
        cls.before = tree(cls.source)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()
        assert tree(cls.source) == cls.before, 'a fork has written into its source'
        super().tearDownClass()

    def ctl(self, *words):
        done = self.daemon.ctl(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def fork(self, out, *more, at=None, source=None, ranks=RANKS, flags=(), **kwargs):
        words = ['--fork-from', str(source or self.source), *(['--fork-iter', str(at)] if at is not None else []), *flags]
        return self.train(out, *OPTIONS, *more, flags=words, ranks=ranks, **kwargs)

    def final(self, out):
        return common.bits(self.folder / out / 'model_final')

    def entries(self, out):
        return check_chain((self.folder / out / 'journal.jsonl').read_text())

    def test_between_checkpoints_with_words_before_and_after(self):
        text = self.fork('mid', at=16)
        self.assertIn('up to iteration 16', text)
        self.assertEqual(self.final('mid'), self.final('plain'))  # the words at 22 are not replayed
        entries = self.entries('mid')
        source = check_chain((self.source / 'journal.jsonl').read_text())
        self.assertEqual(entries[:3], source[:3])
        self.assertEqual([(e['kind'], e['old'], e['new'], e['iteration']) for e in entries[3:]],
                         [('fork', str(self.source), 'model_0001', 16)])
        self.assertFalse((self.folder / 'mid/.fork').exists())
        rows = [json.loads(line) for line in (self.folder / 'mid/metrics.json').read_text().splitlines()]
        self.assertTrue(rows and min(r['iteration'] for r in rows) >= 15, rows)  # 15: what the state still held
        # It needs its source no more: killed after its first checkpoint it is resumed.
        for name in ('model_0003', 'model_final', 'model_best'):
            shutil.rmtree(self.folder / 'mid' / name)
        text = self.fork('mid', at=16, source=self.folder / 'gone', flags=['--resume'])
        self.assertIn('model_iter_0000016', text)
        self.assertEqual(self.final('mid'), self.final('plain'))
        # A fork of a fork, and not of what was before it.
        self.fork('mid_again', at=25, source=self.folder / 'mid')
        self.assertEqual(self.final('mid_again'), self.final('plain'))
        self.assertEqual([e['kind'] for e in self.entries('mid_again')], ['set'] * 3 + ['fork'] * 2)
        self.assertIn('is itself a fork', self.fork('x', at=3, source=self.folder / 'mid', code=2))

    def test_of_a_checkpoint_and_after_all_words(self):
        text = self.fork('late', at=24)
        self.assertNotIn('following', text)
        self.assertEqual(self.final('late'), self.final('source'))
        self.assertNotEqual(self.final('late'), self.final('plain'))
        self.fork('early', at=12)
        entries = self.entries('early')  # up to the last word before it; those of 14 may have come earlier than that
        self.assertEqual([e['iteration'] for e in entries if e['iteration'] < 12], [8])
        self.assertEqual(entries[-1]['kind'], 'fork')
        self.assertLessEqual(len(entries), 4)
        self.assertNotEqual(self.final('early'), self.final('plain'))

    def test_from_the_beginning_and_with_another_configuration(self):
        self.fork('scratch', 'SOLVER.BASE_LR', '0.001', at=5)
        checkpoint = common.manifest(self.folder / 'scratch/model_iter_0000005')
        self.assertEqual(checkpoint['iteration'], 5)
        self.assertIn('BASE_LR: 0.001', (self.folder / 'scratch/config.yaml').read_text())
        self.assertEqual(self.entries('scratch')[-1]['new'], '')
        self.assertNotEqual(self.final('scratch'), self.final('plain'))
        self.fork('zero', at=0)
        self.train('new', *OPTIONS, ranks=RANKS)
        self.assertEqual(self.final('zero'), self.final('new'))

    def test_reidctl_forks_a_job_with_its_hooks(self):
        script = self.folder / 'steps.lua'
        script.write_text(SCRIPT)
        self.ctl('submit', '--name', 'hooked', '-n', RANKS, common.CONFIG, *self.overrides('hooked', *OPTIONS))
        for done in self.daemon.ctl_at_once(['hook', 'add', 'hooked', script], *[['set', 'hooked', *word] for word in EARLY]):
            self.assertEqual(done.returncode, 0, done.stderr)
        self.daemon.wait_state('hooked', ('SUCCEEDED',), 120)
        before = tree(self.folder / 'hooked')
        for out, at in (('after_15', 16), ('after_23', 24)):
            job = self.ctl('fork', 'hooked', '--at-iter', at, '--name', out, '-n', RANKS, 'OUTPUT_DIR', self.folder / out)
            self.daemon.wait_state(job, ('SUCCEEDED',), 120)
            self.assertEqual(self.final(out), self.final('hooked'), out)
        self.ctl('audit', 'after_15', '--verify')
        wishes = [(e['iteration'], e['name'], e['new']) for e in self.entries('after_15') if e['kind'] == 'set']
        self.assertEqual(wishes[-4:], [e for e in wishes if e[0] >= 20])
        self.assertEqual([n for i, n, _ in wishes if i == 16], ['lr_factor', 'weight_decay'])
        self.assertEqual(tree(self.folder / 'hooked'), before)

    def test_of_the_newest_with_more_epochs_and_other_ranks(self):
        text = self.fork('on', 'SOLVER.MAX_EPOCH', '6', ranks=1)
        self.assertIn('before iteration 30', text)
        self.assertEqual(common.manifest(self.folder / 'on/model_final')['iteration'], 36)
        # Without a configuration of its own it has the source's.
        command = [str(common.BIN / 'reid-train'), '--fork-from', str(self.source), 'OUTPUT_DIR', str(self.folder / 'own')]
        done = common.subprocess.run(command, capture_output=True, text=True, timeout=60 * common.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(common.bits(self.folder / 'own/model_iter_0000030'), self.final('source'))  # nothing is left to do

    def test_what_cannot_be_is_one_sentence(self):
        check = ['--check-only', '--world', str(RANKS)]

        def refused(text, *more, code=2, **kwargs):
            out = self.fork('never', *more, code=code, flags=check, ranks=1, **kwargs)
            self.assertEqual(len(out.splitlines()), 1, out)
            self.assertIn(text, out)

        self.assertEqual(self.fork('never', at=16, flags=check, ranks=1), '')
        refused('does not come to iteration 31', 'SOLVER.MAX_EPOCH', '9', at=31)
        refused('raise SOLVER.MAX_EPOCH', 'SOLVER.MAX_EPOCH', '3', at=24)
        refused('iterations per epoch', 'SOLVER.IMS_PER_BATCH', '16', at=24)
        refused('cannot take over', 'MODEL.BACKBONE.DEPTH', '34x', at=24)
        refused('SOLVER.OPT', 'SOLVER.OPT', 'SGD', at=24)
        refused('no folder', at=24, source=self.folder / 'nowhere')
        refused('no checkpoint', source=self.data)
        refused('not the OUTPUT_DIR', at=3, source=self.data)
        refused('a fork needs another', 'OUTPUT_DIR', str(self.source))
        refused('an iteration from -1', at='soon')
        self.assertFalse((self.folder / 'never').exists())
        broken = self.folder / 'broken'
        shutil.copytree(self.source, broken)
        victim = broken / 'model_0003/model.safetensors'
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
        text = self.fork('around', at=24, source=broken)  # from the one before
        self.assertIn('is damaged', text)
        self.assertEqual(self.final('around'), self.final('source'))
        lines = (broken / 'journal.jsonl').read_text()
        (broken / 'journal.jsonl').write_text(lines.replace('0.9', '0.8'))
        refused('cannot be relied on', at=16, source=broken)
        (broken / 'journal.jsonl').write_text(lines + '{"seq":')  # being written
        self.assertNotIn('relied', self.fork('never', at=16, source=broken, flags=check, ranks=1))


if __name__ == '__main__':
    common.main()
