#!/usr/bin/python3
"""MODEL.CONVOLUTION auto: measured once, kept, the same bits from then on, whatever happens to the file."""
import pathlib
import re
import shutil

import common

AUTO = ['MODEL.CONVOLUTION', 'auto', 'TEST.EVAL_PERIOD', '0', 'SEED', '3']
ONE = ['SOLVER.MAX_EPOCH', '1', *AUTO]


class Convolution(common.Case):
    cache = 'cache'

    def environment(self, ranks=1):
        return {**super().environment(ranks), 'XDG_CACHE_HOME': str(self.folder / self.cache)}

    def files(self):
        return sorted((self.folder / self.cache / 'reidd').glob('*'))

    def bits(self, out):
        return common.bits(self.folder / out / 'model_final')

    def table(self, out, name='model_final'):
        return (self.folder / out / name / 'convolutions.txt').read_text()

    def needs_winograd(self):
        flags = pathlib.Path('/proc/cpuinfo').read_text()
        if not all(word in flags for word in ('avx512f', 'avx512bw', 'avx512dq', 'avx512vl')):
            self.skipTest('this machine has no Winograd kernels to choose')

    def test_measured_once_then_the_same_bits(self):
        self.needs_winograd()
        self.cache = 'once'
        first = self.train('first', *ONE)
        self.assertRegex(first, r'convolutions: measured \d+ directions in \S+ s, Winograd for \d+; kept in')
        (file,) = self.files()
        second = self.train('second', *ONE)
        self.assertIn(f"convolutions: as measured before, from '{file}'", second)
        self.assertNotIn('measured ', second.replace('as measured before', ''))
        self.assertEqual(self.bits('first'), self.bits('second'))
        self.assertIn('k3 s1 p1 f32 ', self.table('first'))
        self.assertEqual(self.table('first'), self.table('second'))
        self.assertIn(self.table('first'), file.read_text())

    def test_two_first_runs_at_once_agree(self):
        self.needs_winograd()
        self.cache = 'both'
        runs = [self.start(f'both{i}', *ONE) for i in range(3)]
        texts = [run.communicate(timeout=120 * common.PATIENCE)[0] for run in runs]
        for run, text in zip(runs, texts):
            self.assertEqual(run.returncode, 0, text)
        self.assertEqual(len(self.files()), 1)
        self.assertEqual(self.bits('both0'), self.bits('both1'))
        self.assertEqual(self.bits('both0'), self.bits('both2'))

    @common.needs_mpi
    def test_ranks_take_the_choice_of_rank_0(self):
        self.cache = 'ranks'
        for out in ('ranks_a', 'ranks_b'):
            self.train(out, *ONE, ranks=2)
        self.assertEqual(self.bits('ranks_a'), self.bits('ranks_b'))
        self.assertIn('n16 c', self.table('ranks_a'))

    def test_a_resumed_run_takes_that_of_its_checkpoint(self):
        self.needs_winograd()
        self.cache = 'resume'
        whole = ['SOLVER.MAX_EPOCH', '4', 'SOLVER.CHECKPOINT_PERIOD', '2', *AUTO]
        self.train('whole', *whole)
        out = self.folder / 'parts'
        for cached in (True, False):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(self.folder / 'whole', out, ignore=shutil.ignore_patterns('model_final'))
            (out / 'last_checkpoint').write_text('model_0001')
            if not cached:
                shutil.rmtree(self.folder / self.cache)
            text = self.train('parts', *whole, flags=['--resume'])
            self.assertIn('convolutions: as in the checkpoint', text)
            self.assertEqual(self.bits('whole'), self.bits('parts'))
        self.assertEqual(self.files(), [], 'nothing was measured')

    def test_a_damaged_file_is_measured_anew(self):
        self.needs_winograd()
        self.cache = 'damaged'
        self.train('before', *ONE)
        (file,) = self.files()
        good = file.read_bytes()
        for i, bad in enumerate([b'', good[:len(good) // 2], good.replace(b'k3', b'k5'), b'\0' * 100, good + b'x', good[:-2]]):
            file.write_bytes(bad)
            text = self.train(f'after{i}', *ONE)
            self.assertRegex(text, re.escape(f"'{file}' is damaged: convolutions are measured anew"))
            self.assertEqual(self.files(), [file])
            again = self.train(f'again{i}', *ONE)
            self.assertIn('as measured before', again)
            self.assertEqual(self.bits(f'after{i}'), self.bits(f'again{i}'))

    def test_nowhere_to_keep_it_means_the_rule(self):
        self.cache = 'file/in/the/way'
        (self.folder / 'file').write_text('')
        text = self.train('nowhere', *ONE)
        self.assertIn('convolutions: chosen by a rule, for a measurement could not be kept: ', text)
        self.train('rule', 'MODEL.CONVOLUTION', 'rule', *ONE[:2], *AUTO[2:])
        self.assertEqual(self.bits('nowhere'), self.bits('rule'))
        self.assertEqual((self.folder / 'nowhere/model_final/convolutions.txt').read_text(), '')
        self.assertFalse((self.folder / 'rule/model_final/convolutions.txt').exists())

    def test_direct_and_bad_words(self):
        text = self.train('direct', 'MODEL.CONVOLUTION', 'direct', *ONE[:2], *AUTO[2:])
        self.assertNotIn('convolutions:', text)
        text = self.train('word', 'MODEL.CONVOLUTION', 'fastest', code=2)
        self.assertIn('MODEL.CONVOLUTION', text)


if __name__ == '__main__':
    common.main()
