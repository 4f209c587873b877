#!/usr/bin/python3
"""Hooks from outside on real jobs, by a stock gRPC client: points, verdicts, order, the journal, the same bits after interruptions."""
import os
import signal
import threading
import time

import common
import hooking
from hooking import (ALL, CHECKPOINT, DISABLE, DISABLED, ENABLED, ENDLESS, EVALUATE, IGNORE, POINTS, QUIET, SKIP, STEP, Code, act,
                     by_place, control_pb2, grpc, hook_pb2, job_pb2, places_of, set_to)

# Not the plan of a schedule alone: 48 iterations, the first 40 of them warm-up; images are mirrored, and erased now and then.
BITS = [*QUIET, 'INPUT.FLIP.ENABLED', 'True', 'INPUT.REA.ENABLED', 'True', 'SOLVER.MAX_EPOCH', '8',
        'SOLVER.CHECKPOINT_PERIOD', '2', 'SOLVER.WARMUP_ITERS', '40']
# A hook with a state: wishes depend on what it has counted and seen since its first call.
STATEFUL = '''
state = {steps = 0, sum = 0}
function before_step(t)
  state.steps = state.steps + 1
  if state.steps % 10 == 0 then t:set{weight_decay = state.steps * 1e-5} end
  if state.steps % 14 == 0 then t:skip_step() end
end
function after_step(t)
  state.sum = state.sum + (t.storage:get("total_loss") or 0) * state.steps
  t.storage:put("lua_steps", state.steps)
  t.storage:put("lua_sum", state.sum)
end
'''
# Tells which Lua hook was called last, and what it has counted. NUMBER rises with the order of registration.
CHAIN = '''
state = {calls = 0}
function after_step(t)
  state.calls = state.calls + 1
  local last, iter = t.storage:get("chain")
  if last and iter == t.iter and last >= NUMBER then t.storage:put("disorder", NUMBER) end
  t.storage:put("chain", NUMBER)
  t.storage:put("calls_NUMBER", state.calls)
end
'''


class Hooks(hooking.HookCase):
    def add_lua(self, job, text, **more):
        return self.hooks.Add(hook_pb2.AddHookRequest(job=job, lua=text, **more), timeout=30)

    def request(self, verb, job, **which):
        return verb(hook_pb2.HookRequest(job=job, **which), timeout=30)

    # ---- points ----

    def test_a_job_that_waits_shows_every_point(self):
        first = self.submit('first', *ENDLESS, ranks=self.slots)
        job = self.submit('waits', *QUIET, 'SOLVER.MAX_EPOCH', '2')
        self.assertEqual(self.daemon.job(job)['state'], 'PENDING')
        remotes = {name: hooking.Remote(self.hooks, job, name=name, **more) for name, more in dict(
            all=dict(points=ALL),
            third=dict(every=3, scalars=['total_*', 'lr', 'nothing']),
            when=dict(points=STEP, when='iter >= 7 and total_loss > 0'),
            never=dict(points=STEP, when='total_loss > 1e9'),
            later=dict(points=STEP, asynchronous=True)).items()}
        self.daemon.ctl('cancel', first)
        for remote in remotes.values():
            self.assertEqual(remote.wait_attached(60).attached.iteration, 0)
            self.assertEqual(remote.attached.job, job)
        self.assertEqual({r.wait_end() for r in remotes.values()}, {Code.OK})
        self.assertEqual(self.ends(job)['progress']['iteration'], 12)
        seen = remotes['all']
        self.assertEqual(seen.places(), [('before_train', 0), *places_of(0, 12), ('after_train', 12)])
        self.assertEqual([e.number for e in seen.events], list(range(1, len(seen.events) + 1)))
        self.assertEqual({(e.max_iteration, e.max_epoch) for e in seen.events}, {(12, 2)})
        for event in seen.events[1:-1]:
            after = event.point == POINTS['after_epoch']
            self.assertEqual(event.epoch, (event.iteration - after) // 6, event)
        losses, rates = self.column(job, 'total_loss'), self.column(job, 'lr')
        for event in remotes['third'].events:
            self.assertEqual({s.name: s.value for s in event.scalars},
                             {'total_loss': losses[event.iteration], 'lr': rates[event.iteration]})
            self.assertEqual(event.lr, rates[event.iteration])
        self.assertEqual(remotes['third'].places(), [('after_step', i) for i in (2, 5, 8, 11)])
        self.assertEqual(remotes['when'].places(), places_of(7, 12)[:-1])
        self.assertEqual(remotes['never'].places(), [])
        self.assertEqual(remotes['later'].steps(), seen.steps())
        self.assertLess({'total_loss', 'loss_cls', 'lr'}, {s.name for s in seen.events[-1].scalars})

    def test_verdicts_steer_a_running_job(self):
        job = self.running('steered')
        start, plan = threading.Event(), {}

        def answer(event):
            start.wait(20)
            return plan.get(hooking.where(event), [])

        steer = self.attach(job, answer, name='steer', points=ALL, deadline_seconds=30, reason='a test')
        a, who = steer.attached.iteration, f"hook 'steer' (id {steer.id})"
        plan.update({
            ('before_step', a + 1): [set_to(lr=1e-4), set_to(weight_decay=0.002)],
            ('after_step', a + 2): [set_to(lr=2e-4)],
            ('before_step', a + 5): [SKIP],
            ('after_step', a + 6): [EVALUATE, CHECKPOINT],
            ('after_step', a + 8): [act(put_scalar=job_pb2.Scalar(name='of_hook', value=-2.5))],
            ('after_step', a + 9): [SKIP],
            ('after_step', a + 11): [act(stop=hook_pb2.StopAction(reason='good enough'))]})
        start.set()
        self.assertEqual(steer.wait_end(), Code.OK)
        done = self.ends(job)
        self.assertEqual((done['exit_code'], done['progress']['iteration']), (0, a + 12))
        self.assertIn(f'{who}: good enough', done['detail'])
        # Added late, it gets its before_train at once; the epoch that goes on has no before_epoch.
        expected = [p for p in places_of(a, a + 12) if p != ('after_epoch', a + 12)]
        self.assertEqual(steer.places()[0][0], 'before_train')
        self.assertEqual(steer.steps(), [p for p in expected if p[0].endswith('_step')])
        self.assertEqual(steer.places()[-1], ('after_train', a + 12))
        rates = self.column(job, 'lr')
        for i in range(a, a + 12):
            self.assertEqual(rates[i], 3.5e-4 if i < a + 1 else 1e-4 if i < a + 3 else 2e-4, i)
        for e in steer.events:
            if e.point == POINTS['after_step']:
                self.assertEqual(e.lr, rates[e.iteration], e.iteration)
        trained = list(self.column(job, 'total_loss'))
        self.assertEqual(trained, [i for i in range(a + 12) if i not in (a + 5, a + 10)])
        self.assertEqual(self.column(job, 'of_hook'), {a + 8: -2.5})
        self.assertEqual(list(self.column(job, 'mAP')), [a + 6])
        saved = self.folder / f'steered/model_iter_{a + 7:07d}'
        self.assertEqual(common.manifest(saved)['iteration'], a + 7)
        entries = self.audit(job)
        add, words = entries[0], entries[1:]
        self.assertEqual((add.kind, add.name, add.iteration, add.seq, add.reason), ('hook_add', 'steer', a, steer.id, 'a test'))
        self.assertEqual([(e.kind, e.name, e.iteration, e.new) for e in words if e.who == who], [
            ('set', 'lr', a + 1, '0.0001'), ('set', 'weight_decay', a + 1, '0.002'), ('set', 'lr', a + 3, '0.0002'),
            ('skip_step', '', a + 5, ''), ('evaluate', '', a + 7, ''), ('checkpoint', '', a + 7, ''),
            ('skip_step', '', a + 10, ''), ('stop', '', a + 12, '')])
        self.assertTrue(all(add.wall_ms <= e.wall_ms <= self.daemon.job(job)['ended_ms'] for e in words))

    def test_a_skip_by_a_hook_is_a_skip_by_a_person(self):
        """The same bits, and others than without it; asynchronously the words come later, but come."""
        options = [*QUIET, 'SOLVER.MAX_EPOCH', '2']
        plain = self.submit('plain', *options)
        by_hook = self.submit('by_hook', *options)
        remote = self.attach(by_hook, by_place({('before_step', 7): [SKIP], ('before_step', 9): [set_to(lr=1e-3)]}), points=ALL)
        self.assertEqual(remote.wait_end(), Code.OK)
        self.ends(plain)
        by_hand = self.submit('by_hand', *options)
        skip = self.control.SkipStep.future(control_pb2.ControlRequest(id=by_hand, at_iter=7), timeout=60)
        self.control.Set(control_pb2.SetRequest(id=by_hand, at_iter=9,
                                                settings=[control_pb2.Setting(name='lr', value='0.001')]), timeout=60)
        skip.result()
        by_word = self.submit('by_word', *options)
        late = self.attach(by_word, by_place({('after_step', 3): [set_to(lr=1e-3)]}), points=STEP, asynchronous=True)
        for job in (by_hook, by_hand, by_word):
            self.ends(job)
        bits = {name: common.bits(self.folder / name / 'model_final') for name in ('plain', 'by_hook', 'by_hand')}
        self.assertEqual(bits['by_hook'], bits['by_hand'])
        self.assertNotEqual(bits['by_hook'], bits['plain'])
        entry = self.audit(by_word)[1]
        self.assertEqual((entry.kind, entry.who), ('set', f"hook 'remote' (id {late.id})"))
        self.assertGreater(entry.iteration, 3)
        self.assertEqual({i for i, lr in self.column(by_word, 'lr').items() if lr == 1e-3}, set(range(entry.iteration, 12)))

    # ---- the journal ----

    def start_bits(self, name, hold=None):
        """A run with a remote hook that acts until iteration 30, and a Lua hook that acts all the time."""
        job = self.submit(name, *BITS)
        plan = by_place({('before_step', 8): [set_to(lr=1e-4)], ('before_step', 10): [SKIP],
                         ('after_step', 15): [set_to(margin=0.5)], ('before_step', 26): [SKIP],
                         ('after_step', 27): [set_to(lr_factor=2, flip_prob=0.9)]})

        asked = threading.Event()

        def answer(event):
            if hooking.where(event) == ('before_step', 1):
                asked.wait(60 * common.PATIENCE)
                time.sleep(0.5)  # what is wished below must come to the ranks before iteration 3
            return None if hold == hooking.where(event) else plan(event)

        remote = self.attach(job, answer, points=ALL, deadline_seconds=60)
        self.assertEqual(remote.attached.iteration, 0)
        lua = self.hooks.Add.future(hook_pb2.AddHookRequest(job=job, lua=STATEFUL, name='stateful', at_iter=3), timeout=60)
        asked.set()
        self.assertEqual(lua.result().iteration, 3)
        return job, remote

    def same(self, name, job, whole):
        self.assertEqual(common.bits(self.folder / name / 'model_final'), common.bits(self.folder / 'whole/model_final'))
        for metric in ('lr', 'total_loss', 'lua_steps', 'lua_sum'):
            mine, expected = self.column(job, metric), self.column(whole, metric)
            first = min(mine)
            self.assertEqual(mine, {i: v for i, v in expected.items() if i >= first}, metric)

    def words(self, job):
        return [(e.seq, e.kind, e.name, e.iteration, e.old, e.new, e.who) for e in self.audit(job)]

    def test_same_bits_after_kill_and_after_pause(self):
        whole, remote = self.start_bits('whole')
        killed, held = self.start_bits('killed', hold=('before_step', 32))
        self.assertEqual(remote.wait_end(), Code.OK)
        self.ends(whole)
        rates = self.column(whole, 'lr')
        self.assertEqual([i for i in range(48) if i not in self.column(whole, 'total_loss')], [10, 16, 26, 30, 44])
        self.assertEqual(rates[8], 1e-4)
        self.assertEqual(self.column(whole, 'lua_steps')[47], 45)
        common.wait_for(lambda: ('before_step', 32) in held.places(), 60, 'the run comes to where it is held')
        for pid in self.daemon.rank_pids(killed):
            os.kill(pid, signal.SIGKILL)
        self.ends(killed, 'FAILED', 30)
        held.wait_end()
        self.sentence(held.notices[-1].sentence, 'FAILED')
        again = self.submit('again', *BITS, 'OUTPUT_DIR', str(self.folder / 'killed'), options=['--resume'])
        paused, gone = self.start_bits('paused')
        self.control.Pause(control_pb2.ControlRequest(id=paused, at_iter=33), timeout=60)
        self.daemon.wait_state(paused, ('PAUSED',), 60)
        gone.wait_end()
        self.assertEqual(gone.steps()[-1], ('after_step', 32))
        self.refused(Code.FAILED_PRECONDITION, 'PAUSED', lambda: self.list(paused))
        self.control.Resume(control_pb2.ResumeRequest(id=paused))
        common.wait_for(lambda: self.daemon.job(paused)['state'] in ('RUNNING', 'SUCCEEDED'), 60, 'it goes on')
        for name, job in (('killed', again), ('paused', paused)):
            self.ends(job)
            self.same(name, job, whole)
        self.assertEqual(self.daemon.rows(again)[0]['iteration'], 24)  # so words of 26 to 30 were replayed
        # The journals say the same, but for the pause.
        self.assertEqual([w[1:] for w in self.words(paused) if w[1] not in ('pause', 'hook_remove')],
                         [w[1:] for w in self.words(whole)])

    def test_four_ranks_agree(self):
        runs = []
        for name in ('four_a', 'four_b'):
            job = self.submit(name, *QUIET, 'SOLVER.MAX_EPOCH', '2', ranks=4)
            remote = self.attach(job, by_place({('before_step', 4): [set_to(lr=1e-4)], ('before_step', 6): [SKIP]}), points=STEP)
            self.assertEqual(remote.wait_end(), Code.OK)
            self.ends(job)
            self.assertEqual(self.column(job, 'lr'), {i: 1e-4 if i >= 4 else 3.5e-4 for i in range(12)})
            runs.append((common.bits(self.folder / name / 'model_final'), self.column(job, 'total_loss')))
        self.assertEqual(runs[0], runs[1])
        self.assertNotIn(6, runs[0][1])

    # ---- many ----

    def test_a_hundred_hooks_come_and_go(self):
        """Four kinds in turns: Lua, synchronous, asynchronous, synchronous with both points of a step."""
        job = self.running('hundred')
        ranks = self.daemon.rank_pids(job)
        pids = [self.daemon.process.pid, *ranks]
        before = [common.usage(p) for p in pids]
        remotes, chain = self.crowd(job, 100)
        self.wait_listed(job, lambda hooks: not hooks, 'the list is empty')
        self.further(job)
        for pid, (rss, count) in zip(pids, before):
            common.wait_for(lambda: common.usage(pid)[1] <= count + 4, 10, 'a hundred hooks leave no descriptor')  # the journal and the like stay
            self.assertLess(common.usage(pid)[0], rss + 32 * 1024)  # of it some 5 MiB are buffers, made once
        self.check_crowd(job, remotes, chain)

    def crowd(self, job, count):
        remotes, chain = [], []
        log, lock = [], threading.Lock()

        def note(event, remote):
            with lock:
                log.append((event.iteration, event.point, remote.attached.hook))
            return []

        for i in range(count):
            if i % 4 == 0:
                number = len(self.audit(job)) + 1  # its id, as nobody else adds one
                chain.append(self.add_lua(job, CHAIN.replace('NUMBER', str(number)), name=f'lua{i}'))
                self.assertEqual(chain[-1].hook, number)
            else:
                remote = hooking.Remote(self.hooks, job, start=False, name=f'remote{i}', asynchronous=i % 4 == 2,
                                        deadline_seconds=20, points=STEP if i % 4 == 3 else [POINTS['after_step']])
                remote.answer = lambda event, remote=remote: note(event, remote)
                remote.thread.start()
                remotes.append(remote.wait_attached())
        newest = remotes[-1]
        hooks = self.wait_listed(job, lambda hooks: newest.id in hooks and len(hooks) == count, 'all are listed')
        ids = [r.id for r in remotes] + [c.hook for c in chain]
        self.assertEqual(list(hooks), sorted(ids))
        self.assertEqual(len(set(ids)), count)
        newest.wait_events(len(newest.events) + 6)
        self.check_order(log, {r.id for r in remotes if hooks[r.id].asynchronous}, newest.id)
        for remote in remotes[::2]:
            remote.up.put(None)  # half-closes
        removed = [self.request(self.hooks.Remove, job, hook=c.hook) for c in chain]
        for remote in remotes[1::2]:
            self.assertEqual(self.request(self.hooks.Remove, job, hook=remote.id).hook, remote.id)
        self.assertEqual({r.wait_end() for r in remotes}, {Code.OK})
        return remotes, list(zip(chain, removed))

    def check_order(self, log, asynchronous, newest):
        """At each point synchronous hooks are called in the order of registration."""
        calls = {}
        for iteration, point, hook in list(log):
            if hook not in asynchronous:
                calls.setdefault((iteration, point), []).append(hook)
        for place, hooks in calls.items():
            self.assertEqual(hooks, sorted(set(hooks)), place)
        self.assertGreater(max(len(hooks) for hooks in calls.values()), len({c for h in calls.values() for c in h}) // 2)

    def check_crowd(self, job, remotes, chain):
        entries = self.audit(job)
        spans = {e.seq: [e.iteration, None] for e in entries if e.kind == 'hook_add'}
        for e in entries:
            if e.kind == 'hook_remove':
                self.assertIsNone(spans[int(e.old)][1], e)
                spans[int(e.old)][1] = e.iteration
        for remote in remotes:
            added, removed = spans[remote.id]
            self.assertEqual(remote.attached.iteration, added)
            both = any(p == 'before_step' for p, _ in remote.places())
            wanted = [p for p in places_of(added, removed) if p[0] == 'after_step' or (both and p[0] == 'before_step')]
            self.assertEqual(remote.steps(), wanted, remote.attached)
        rows = self.daemon.rows(job)
        for add, remove in chain:
            calls = {r['iteration']: r['metrics'][f'calls_{add.hook}'] for r in rows if f'calls_{add.hook}' in r['metrics']}
            self.assertEqual(calls, {i: i - add.iteration + 1 for i in range(add.iteration, remove.iteration)})
        self.assertFalse([r for r in rows if 'disorder' in r['metrics']])

    # ---- verbs ----

    def test_list_enable_disable_remove(self):
        job = self.running('verbs')
        one = self.attach(job, name='one', points=STEP, every=2, when='total_loss > 0', reason='why not')
        two = self.attach(job, name='two', asynchronous=True)
        lua = self.add_lua(job, 'function after_step(t) t.storage:put("of_lua", t.iter) end', name='three', every=2)
        hooks = self.wait_listed(job, lambda hooks: len(hooks) == 3, 'three hooks')
        self.assertEqual([(h.id, h.name, h.kind, h.state, h.every, h.asynchronous, h.when) for h in hooks.values()], [
            (one.id, 'one', 'remote', ENABLED, 2, False, 'total_loss > 0'), (two.id, 'two', 'remote', ENABLED, 1, True, ''),
            (lua.hook, 'three', 'lua', ENABLED, 2, False, '')])
        self.assertEqual((hooks[one.id].iteration, list(hooks[one.id].points)), (one.attached.iteration, STEP))
        self.assertIn(common.pathlib.Path.home().owner(), hooks[one.id].who)
        off = self.request(self.hooks.Disable, job, hook=one.id, reason='enough')
        self.request(self.hooks.Disable, job, name='three')
        self.wait_listed(job, lambda hooks: hooks[one.id].state == hooks[lua.hook].state == DISABLED, 'both are disabled')
        self.further(job, 6)
        common.wait_for(lambda: one.notices, 10, 'a notice')
        self.assertEqual(one.notices[0].state, DISABLED)
        self.assertIn('enough', one.notices[0].sentence)
        self.assertLess(max(i for _, i in one.places()), off.iteration)
        seen = len(one.events)
        on = self.request(self.hooks.Enable, job, hook=one.id)
        one.wait_events(seen + 2)
        self.assertGreaterEqual(one.events[seen].iteration, on.iteration)
        self.assertEqual(one.notices[1].state, ENABLED)
        gone = self.request(self.hooks.Remove, job, hook=one.id)
        self.assertEqual(one.wait_end(20), Code.OK)
        self.assertEqual((one.notices[-1].state, max(i for _, i in one.places()) < gone.iteration), (hooking.REMOVED, True))
        self.assertEqual(two.leave(), Code.OK)
        self.wait_listed(job, lambda hooks: list(hooks) == [lua.hook], 'one is left')
        later = self.request(self.hooks.Enable, job, hook=lua.hook)
        common.wait_for(lambda: max(self.column(job, 'of_lua')) >= later.iteration, 30, 'it is called again')
        self.assertEqual(self.audit(job)[-1].name, 'three')
        self.check_refused(job, lua.hook)

    def check_refused(self, job, lua):
        add = hook_pb2.AddHookRequest
        bad = Code.INVALID_ARGUMENT
        for code, word, call in [
                (Code.NOT_FOUND, 'no hook', lambda: self.request(self.hooks.Remove, job, hook=999)),
                (Code.NOT_FOUND, "'nobody'", lambda: self.request(self.hooks.Disable, job, name='nobody')),
                (Code.NOT_FOUND, 'no job', lambda: self.request(self.hooks.Enable, 'nobody', hook=1)),
                (Code.NOT_FOUND, 'no job', lambda: self.list('nobody')),
                (bad, 'id', lambda: self.request(self.hooks.Remove, job)),
                (Code.FAILED_PRECONDITION, 'past', lambda: self.request(self.hooks.Disable, job, hook=lua, at_iter=1)),
                (bad, '', lambda: self.hooks.Add(add(job=job), timeout=20)),
                (bad, "'='", lambda: self.add_lua(job, 'function after_step( x = 1 end')),
                (bad, 'point', lambda: self.add_lua(job, 'x = 1')),
                (bad, 'total_loss', lambda: self.add_lua(job, CHAIN, when='total_loss >')),
                (Code.NOT_FOUND, 'Nothing', lambda: self.hooks.Add(add(job=job, builtin='Nothing'), timeout=20)),
                (Code.PERMISSION_DENIED, '--hook-dir', lambda: self.hooks.Add(add(job=job, native='x.so'), timeout=20)),
                (bad, 'every', lambda: self.add_lua(job, CHAIN, every=-1))]:
            with self.subTest(word=word):
                self.refused(code, word, call)
        for code, word, register in [(bad, 'point', dict(points=[])), (bad, 'every', dict(every=-2)),
                                     (bad, 'deadline', dict(deadline_seconds=61)), (bad, 'total_loss', dict(when='total_loss ? 1')),
                                     (bad, 'point', dict(points=[17])), (Code.NOT_FOUND, 'no job', dict(job='nobody'))]:
            with self.subTest(register=register):
                remote = hooking.Remote(self.hooks, **{'job': job, **register})
                self.assertEqual(remote.wait_end(20), code, remote.error)
                self.sentence(remote.error.details(), word)
        self.assertEqual([lua], list(self.list(job)))

    # ---- the daemon goes ----

    def test_daemon_is_killed_while_clients_are_attached(self):
        job = self.running('orphan')
        kept = self.attach(job, name='kept', on_lost=DISABLE)
        gone = self.attach(job, name='gone', on_lost=IGNORE, points=STEP)
        lua = self.add_lua(job, CHAIN.replace('NUMBER', '3'))
        kept.wait_events(2)
        self.daemon.kill()
        self.assertEqual({kept.wait_end(20), gone.wait_end(20)}, {Code.UNAVAILABLE})
        self.daemon.start()
        self.channel.close()
        type(self).connect()
        common.wait_for(lambda: self.answers(job), 30, 'the ranks are linked again')
        hooks = self.wait_listed(job, lambda hooks: list(hooks) == [kept.id, lua.hook], 'one was removed')
        self.assertEqual([h.state for h in hooks.values()], [DISABLED, ENABLED])
        self.assertIn('reidd', hooks[kept.id].last_error)
        back = self.attach(job, name='kept').wait_events(3)
        self.assertGreater(back.id, lua.hook)
        rows = self.column(job, 'total_loss')
        self.assertEqual(list(rows), list(range(len(rows))))
        self.assertEqual(back.leave(), Code.OK)
        words = [(e.kind, e.name) for e in self.audit(job)]
        self.assertEqual(words.count(('hook_disable', 'kept')), 1)
        self.assertEqual(words.count(('hook_remove', 'gone')), 1)

    def answers(self, job):
        try:
            return self.list(job)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), Code.UNAVAILABLE)
            return None


if __name__ == '__main__':
    common.main()
