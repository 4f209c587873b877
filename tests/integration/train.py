#!/usr/bin/python3
"""reid-train without a daemon: it learns, is deterministic, resumes to the bit, and says what is wrong."""
import json
import re
import shutil
import signal
import unittest

import common


class Train(common.Case):
    def test_learns_and_leaves_what_fast_reid_leaves(self):
        text = self.train('learn', 'SOLVER.MAX_EPOCH', '6', 'SOLVER.CHECKPOINT_PERIOD', '3', 'TEST.EVAL_PERIOD', '3')
        out = self.folder / 'learn'
        first, last = [json.loads(line) for line in (out / 'metrics.json').read_text().splitlines()][::5][:2]
        self.assertLess(last['total_loss'], first['total_loss'])
        self.assertRegex(text, r'eta: \S+  epoch/iter: 5/35  total_loss: \S+  loss_cls: \S+  loss_triplet: \S+  time: ')
        self.assertIn('| Market1501 |', text)
        for name in ('model_0002', 'model_final', 'config.yaml', 'log.txt', 'last_checkpoint'):
            self.assertTrue((out / name).exists(), name)
        self.assertTrue(list(out.glob('events.out.tfevents.*')))
        rank1 = float(re.findall(r'\| Market1501 \| (\S+)', text)[-1])
        self.assertGreater(rank1, 40)  # chance is 8 %

    def test_same_seed_same_bits(self):
        for out in ('seed_a', 'seed_b'):
            self.train(out, 'SOLVER.MAX_EPOCH', '2', 'SEED', '7')
        self.train('seed_c', 'SOLVER.MAX_EPOCH', '2', 'SEED', '8')
        a, b, c = (common.bits(self.folder / out / 'model_final') for out in ('seed_a', 'seed_b', 'seed_c'))
        self.assertEqual(a, b)
        self.assertNotEqual(a, c)

    def test_recomputation_changes_no_bit(self):
        options = ['SOLVER.MAX_EPOCH', '2', 'SOLVER.CHECKPOINT_PERIOD', '1', 'TEST.EVAL_PERIOD', '0']
        self.train('none', *options, 'MODEL.RECOMPUTE', 'none')
        whole = common.bits(self.folder / 'none/model_final')
        for level in ('norm', 'block', 'stage'):
            self.train(level, *options, 'MODEL.RECOMPUTE', level)
            self.assertEqual(common.bits(self.folder / level / 'model_final'), whole)
        out = self.folder / 'none'
        shutil.rmtree(out / 'model_final')
        (out / 'last_checkpoint').write_text('model_0000')
        text = self.train('none', *options, 'MODEL.RECOMPUTE', 'stage', flags=['--resume'])
        self.assertIn('resuming from', text)
        self.assertEqual(common.bits(out / 'model_final'), whole)
        self.assertIn('MODEL.RECOMPUTE', self.train('word', 'MODEL.RECOMPUTE', 'all', code=2))

    def check_resume(self, ranks, stop):
        """Stop by a signal in the middle of an epoch, resume, and compare with a run that was left alone."""
        options = ['SOLVER.CHECKPOINT_PERIOD', '2', 'TEST.EVAL_PERIOD', '0', 'SOLVER.SCHED', 'MultiStepLR', 'SOLVER.STEPS', '[1000]']
        whole, parts = f'whole{ranks}{stop.name}', f'parts{ranks}{stop.name}'
        run = self.start(parts, *options, 'SOLVER.MAX_EPOCH', '100000', ranks=ranks)
        common.wait_for(lambda: (self.folder / parts / 'last_checkpoint').exists() or run.poll() is not None, 60, 'training')
        if stop == signal.SIGKILL:
            for pid in common.processes_with(str(self.folder / parts)):
                common.os.kill(pid, signal.SIGKILL)
        else:
            for pid in common.processes_with(str(self.folder / parts)):
                if common.exe_name(pid) == 'reid-train':
                    common.os.kill(pid, stop)
        text = run.communicate(timeout=60 * common.PATIENCE)[0]
        self.assertNotEqual(run.returncode, 0, text)
        saved = common.manifest(self.folder / parts / (self.folder / parts / 'last_checkpoint').read_text().strip())
        options += ['SOLVER.MAX_EPOCH', str(saved['iteration'] // 6 + 2)]
        text = self.train(parts, *options, ranks=ranks, flags=['--resume'])
        self.assertIn('resuming from', text)
        self.train(whole, *options, ranks=ranks)
        self.assertEqual(common.bits(self.folder / whole / 'model_final'),
                         common.bits(self.folder / parts / 'model_final'))
        self.assertEqual(self.losses(whole), self.losses(parts))

    def losses(self, out):
        """The last line of metrics.json without what depends on the clock."""
        last = json.loads((self.folder / out / 'metrics.json').read_text().splitlines()[-1])
        return {k: v for k, v in last.items() if k not in ('time', 'data_time', 'compute_time', 'wait_time', 'eta_seconds')}

    def test_resume_after_stop_one_rank(self):
        self.check_resume(1, signal.SIGTERM)

    @common.needs_mpi
    def test_resume_after_stop_two_ranks(self):
        self.check_resume(2, signal.SIGTERM)

    @common.needs_mpi
    def test_resume_after_kill_two_ranks(self):
        self.check_resume(2, signal.SIGKILL)

    def test_evaluation_of_a_checkpoint_gives_the_same_figures(self):
        trained = self.train('eval', 'SOLVER.MAX_EPOCH', '2', 'TEST.EVAL_PERIOD', '2')
        table = re.findall(r'^\| Market1501 .*$', trained, re.M)[-1]
        weights = str(self.folder / 'eval/model_final')
        for ranks in range(1, common.RANKS + 1):
            again = self.train(f'eval_again{ranks}', 'MODEL.WEIGHTS', weights, flags=['--eval-only'], ranks=ranks)
            self.assertIn(table, again)
        wrong = self.train('eval_wrong', 'MODEL.WEIGHTS', weights, 'MODEL.BACKBONE.DEPTH', '50x',
                           'MODEL.BACKBONE.FEAT_DIM', '1024', flags=['--eval-only'])
        self.assertIn('keeps its initial value', wrong)

    def test_non_finite_loss_names_iteration_losses_and_images(self):
        text = self.train('nan', *common.DIVERGE, code=1)
        self.assertRegex(text, r'Loss became infinite or NaN at iteration=\d+')
        self.assertIn('loss_cls', text)
        self.assertRegex(text, r'rank 0: \S+_c\ds1_\d+_00.jpg')

    def test_bad_input_is_one_sentence(self):
        self.assertIn("unknown key 'SOLVER.LR'", self.train('x', 'SOLVER.LR', '1', code=2))
        self.assertIn('SOLVER.OPT', self.train('x', 'SOLVER.OPT', 'RAdam', code=2))
        self.assertIn('no checkpoint', self.train('nothing', flags=['--resume'], code=1))
        self.assertIn('identities', self.train('x', 'SOLVER.IMS_PER_BATCH', '128', code=2))
        self.assertIn('mpirun -np', self.train('x', flags=['--num-gpus', '2'], code=2))
        text = self.train('x', 'DATASETS.ROOT', '/nonexistent', code=1)
        self.assertIn("'/nonexistent'", text)

    @unittest.skipIf(common.RANKS > 1, 'a build with MPI')
    def test_without_mpi_several_ranks_are_refused(self):
        self.assertIn('this build has no MPI', self.train('x', flags=['--check-only', '--world', '2'], code=2))

    def test_two_trainings_do_not_share_a_folder(self):
        first = self.start('shared', 'SOLVER.MAX_EPOCH', '4000', 'TEST.EVAL_PERIOD', '0')
        common.wait_for(lambda: (self.folder / 'shared/config.yaml').exists(), 30, 'the first has begun')
        self.assertIn('another training is writing', self.train('shared', 'SOLVER.MAX_EPOCH', '1', code=1))
        first.terminate()
        first.communicate(timeout=30 * common.PATIENCE)
        self.assertEqual(first.returncode, 143)
        self.train('shared', 'SOLVER.MAX_EPOCH', '1', 'TEST.EVAL_PERIOD', '0')  # free again

    def test_corrupt_image_is_named(self):
        data = self.folder / 'corrupt'
        shutil.copytree(self.data, data)
        victim = sorted((data / 'Market-1501-v15.09.15/bounding_box_train').iterdir())[5]
        victim.write_bytes(victim.read_bytes()[:200])
        text = self.train('x', 'DATASETS.ROOT', str(data), 'SOLVER.MAX_EPOCH', '2', code=1)
        self.assertIn(victim.name, text)

    def test_damaged_checkpoint_is_named_and_the_one_before_is_used(self):
        options = ['SOLVER.MAX_EPOCH', '3', 'SOLVER.CHECKPOINT_PERIOD', '1', 'TEST.EVAL_PERIOD', '0']
        self.train('damaged', *options)
        whole = common.bits(self.folder / 'damaged/model_final')
        victim = self.folder / 'damaged/model_final/model.safetensors'
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
        text = self.train('damaged', *options, flags=['--resume'])
        self.assertIn(f"'{victim}' is damaged", text)
        self.assertIn('model_0001 at iteration 12', text)
        self.assertEqual(common.bits(self.folder / 'damaged/model_final'), whole)

    def test_images_of_all_kinds_junk_and_distractors(self):
        data = self.folder / 'odd'
        shutil.copytree(self.data, data)
        base = data / 'Market-1501-v15.09.15'
        files = sorted((base / 'bounding_box_train').iterdir())
        for file, mode in zip(files, ('L', 'CMYK')):
            common.Image.open(file).convert(mode).resize((37, 91)).save(file)
        for file, mode in zip(files[2:], ('P', 'RGBA', 'L', '1')):
            common.Image.open(file).convert(mode).save(file.with_suffix('.png'))
            file.unlink()
        turned = common.Image.open(files[7])
        exif = turned.getexif()
        exif[274] = 6
        turned.save(files[7], exif=exif)
        gallery = base / 'bounding_box_test'
        some = sorted(gallery.iterdir())[0]
        shutil.copy(some, gallery / '0000_c2s1_000001_00.jpg')  # a distractor counts
        shutil.copy(some, gallery / '-1_c2s1_000001_00.jpg')  # junk does not
        (gallery / 'Thumbs.db').write_bytes(b'x')
        text = self.train('odd_out', 'DATASETS.ROOT', str(data), 'SOLVER.MAX_EPOCH', '1', 'TEST.EVAL_PERIOD', '1', ranks=2)
        self.assertIn('12 query and 37 gallery images', text)
        self.assertRegex(text, r'\| train +\| 24 +\| 192 ')


if __name__ == '__main__':
    common.main()
