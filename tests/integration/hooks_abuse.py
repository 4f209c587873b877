#!/usr/bin/python3
"""Clients that stall, die, flood, or send garbage: the job waits no longer than it said, and neither job nor daemon nor others are hurt.

    hooks_abuse.py --client SOCKET JOB POLICY    a client that is there to be killed
"""
import os
import random
import signal
import socket
import subprocess
import sys

import common
import hooking
from hooking import (DISABLE, DISABLED, ENABLED, ENDLESS, FAIL, IGNORE, POINTS, STEP, Code, act, grpc, hook_pb2, hook_pb2_grpc,
                     job_pb2, set_to)

ATTACH = '/reid.v1.HookService/Attach'
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
MOST_GROWTH = 64 * 1024  # KiB of reidd
REGISTER = hook_pb2.HookUp(register=hook_pb2.RegisterHook(points=[POINTS['after_step']]))


def verdict(number, *actions, **more):
    return hook_pb2.HookUp(verdict=hook_pb2.HookVerdict(event=number, actions=actions, **more))


class Stalling(hooking.HookCase):
    slots = 2

    def stall(self, job, name, **more):
        """A client that never answers."""
        return self.attach(job, lambda event: None, name=name, deadline_seconds=0.3, **more)

    def test_late_clients(self):
        job = self.running('late')
        good = self.attach(job, name='good')
        slow = self.stall(job, 'slow')
        slow.wait_events(6)  # the job goes on without it
        row = self.wait_listed(job, lambda hooks: hooks[slow.id].late == 1, 'late once')[slow.id]
        self.assertEqual(row.state, ENABLED)
        self.assertTrue(0.3 <= row.seconds < 3, row)
        self.assertIn('0.3 s', row.last_error)
        self.further(job, 20)  # events that it did not answer are kept back: it is not waited for again
        row = self.list(job)[slow.id]
        self.assertEqual(row.late, 1)
        self.assertLess(row.seconds, 3)
        self.assertEqual(len([e for e in self.events_of(job) if "'slow'" in e]), 1)
        # It answers what it got: from then on it is waited for again.
        slow.answer = lambda event: []
        for event in list(slow.events):
            slow.verdict(event.number)
        seen = len(slow.events)
        slow.wait_events(seen + 3)
        slow.answer = lambda event: None
        self.wait_listed(job, lambda hooks: hooks[slow.id].late == 2, 'late again')
        self.assertGreater(slow.events[-1].number, len(slow.events))  # a gap tells of what was missed
        self.assertGreater(self.list(job)[slow.id].missed, 0)
        self.assertEqual(slow.leave(), Code.OK)

        off = self.stall(job, 'off', on_late=DISABLE)
        row = self.wait_listed(job, lambda hooks: hooks[off.id].state == DISABLED, 'disabled')[off.id]
        self.assertEqual((row.late, row.calls), (1, 1))
        common.wait_for(lambda: off.notices, 10, 'a notice')
        self.assertEqual((off.notices[0].state, len(off.events)), (DISABLED, 1))
        self.sentence(off.notices[0].sentence, '0.3 s')
        entry = next(e for e in self.audit(job) if e.kind == 'hook_disable')
        self.assertEqual((entry.name, entry.old, entry.who), ('off', str(off.id), f"hook 'off' (id {off.id})"))

        steps = good.steps()
        self.assertEqual(steps, [('after_step', i) for i in range(steps[0][1], steps[0][1] + len(steps))])
        worst = self.stall(job, 'worst', on_late=FAIL)
        sentence = self.ends(job, 'FAILED')['failure']['sentence']
        self.sentence(sentence, f"hook 'worst' (id {worst.id}, remote)")
        self.assertIn('0.3 s', sentence)
        for remote in (good, off, worst):
            remote.wait_end()
            self.sentence(remote.notices[-1].sentence, 'FAILED')

    def test_errors_of_clients(self):
        job = self.running('errors')
        default = self.attach(job, lambda event: 'ValueError: no such thing', name='default')
        row = self.wait_listed(job, lambda hooks: hooks[default.id].state == DISABLED, 'disabled')[default.id]
        self.assertIn('ValueError: no such thing', row.last_error)
        self.assertEqual(len(default.events), 1)
        ignored = self.attach(job, lambda event: 'oh', name='ignored', on_error=IGNORE)
        ignored.wait_events(5)
        self.assertEqual(self.list(job)[ignored.id].state, ENABLED)
        wrong = self.attach(job, lambda event: [set_to(rate=1)], name='wrong', on_error=IGNORE)
        row = self.wait_listed(job, lambda hooks: hooks[wrong.id].last_error, 'its wish is refused')[wrong.id]
        self.assertIn("there is no knob 'rate'", row.last_error)
        endless = self.hooks.Add(hook_pb2.AddHookRequest(job=job, lua='function after_step(t) while true do end end'), timeout=30)
        row = self.wait_listed(job, lambda hooks: hooks[endless.hook].state == DISABLED, 'out of its budget')[endless.hook]
        self.assertIn('instructions', row.last_error)
        told = self.events_of(job)
        for name in ('default', 'ignored', 'wrong', 'lua'):
            self.assertTrue([t for t in told if f"hook '{name}'" in t], told)
        self.attach(job, lambda event: [set_to(lr=-1)], name='fatal', on_error=FAIL)
        self.sentence(self.ends(job, 'FAILED')['failure']['sentence'], "hook 'fatal'")

    def test_dead_clients(self):
        job = self.running('dead')
        good = self.attach(job, name='good')
        clients = {policy: subprocess.Popen([sys.executable, '-B', __file__, '--client', str(self.daemon.socket), job, str(policy)],
                                            stdout=subprocess.PIPE, text=True) for policy in (IGNORE, DISABLE, FAIL)}
        ids = {policy: int(client.stdout.readline()) for policy, client in clients.items()}
        self.addCleanup(lambda: [(c.kill(), c.communicate()) for c in clients.values()])
        clients[IGNORE].kill()
        self.wait_listed(job, lambda hooks: ids[IGNORE] not in hooks, 'removed')
        clients[DISABLE].kill()
        row = self.wait_listed(job, lambda hooks: hooks[ids[DISABLE]].state == DISABLED, 'disabled')[ids[DISABLE]]
        self.assertIn('client', row.last_error)
        self.further(job)
        told = self.events_of(job)
        for policy in (IGNORE, DISABLE):
            self.assertEqual(len([t for t in told if f'(id {ids[policy]}' in t]), 1, told)
        self.assertEqual(good.steps(), [('after_step', e.iteration) for e in good.events])
        clients[FAIL].kill()
        sentence = self.ends(job, 'FAILED', 20)['failure']['sentence']
        self.sentence(sentence, f"hook 'policy{FAIL}' (id {ids[FAIL]}, remote)")


class Garbage(hooking.HookCase):
    """One job for all tests, and a good hook, while others misbehave."""
    slots = 2

    job = None

    def setUp(self):
        if self.job is None or self.daemon.job(self.job)['state'] != 'RUNNING':
            type(self).job = self.running('hurt')
        self.good = self.attach(self.job, name='good', deadline_seconds=60)
        self.good.wait_events(1)
        self.before = common.usage(self.daemon.process.pid)

    def tearDown(self):
        self.further(self.job)
        steps = self.good.steps()
        self.assertEqual(steps, [('after_step', i) for i in range(steps[0][1], steps[0][1] + len(steps))])
        self.assertIsNone(self.good.error)
        row = self.list(self.job)[self.good.id]
        self.assertEqual((row.late, row.missed), (0, 0), row)
        self.assertEqual(self.good.leave(), Code.OK)
        self.assertIsNone(self.daemon.process.poll())
        common.wait_for(lambda: common.usage(self.daemon.process.pid)[1] <= self.before[1] + 2, 10, 'no descriptor is left')
        self.assertLess(common.usage(self.daemon.process.pid)[0], self.before[0] + MOST_GROWTH)

    def bare(self, *messages):
        """A client that sends these messages (or bytes) and looks at what comes. Its stream."""
        call = self.channel.stream_stream(
            ATTACH, lambda m: m if isinstance(m, bytes) else m.SerializeToString(), hook_pb2.HookDown.FromString)
        return call(iter(messages), timeout=30)

    def ends_with(self, stream, code, word=''):
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in stream:
                pass
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.sentence(caught.exception.details(), word)

    def code_of(self, stream):
        try:
            list(stream)
        except grpc.RpcError:
            pass
        return stream.code()

    def register(self, **more):
        return hook_pb2.HookUp(register=hook_pb2.RegisterHook(job=self.job, points=[POINTS['after_step']], **more))

    def test_first_messages(self):
        bad = Code.INVALID_ARGUMENT
        for what, code, messages in [
                ('a verdict first', bad, [verdict(1)]),
                ('nothing', bad, [hook_pb2.HookUp()]),
                ('no bytes', bad, [b'']),
                ('garbage', bad, [b'\xff' * 100]),
                ('a text that is not UTF-8', bad, [b'\x0a\x06\x0a\x04\xff\xfe\xfd\xfc']),
                ('an endless varint', bad, [b'\x0a' + b'\x80' * 12]),
                ('a name of 5 MB', None, [self.register(name='x' * 5000000)]),
                ('a predicate of 100 kB', Code.RESOURCE_EXHAUSTED, [self.register(when='iter > 1 and ' * 8000 + 'iter > 1')]),
                ('a predicate of 10 kB', bad, [self.register(when='iter > 1 and ' * 800 + 'iter > 1')]),
                ('a million scalars', None, [self.register(scalars=['a'] * 1000000)]),
                ('an unknown policy', bad, [self.register(on_late=9)]),
                ('not a number', bad, [self.register(deadline_seconds=float('nan'))])]:
            with self.subTest(what):
                with self.assertRaises(grpc.RpcError) as caught:
                    list(self.bare(*messages))
                self.assertIn(caught.exception.code(), [code] if code else [bad, Code.RESOURCE_EXHAUSTED])
                self.sentence(caught.exception.details(), '')
        with self.assertRaises(grpc.RpcError) as caught:  # half-closed before a word was said
            list(self.bare())
        self.assertEqual(caught.exception.code(), bad, caught.exception)

    def test_broken_rules(self):
        """Each throws its client out with a sentence, and its hook goes."""
        far, twice = [verdict(10 ** 9)], [self.register()]
        settings = act(set=set_to(**{f'lr{i}': 1 for i in range(33)}).set)
        for what, answer in {
                'an event that was not sent': lambda e: far,
                'the same event twice': lambda e: [verdict(e.number), verdict(e.number)],
                'an event below': lambda e: [verdict(0)],
                'two registers': lambda e: twice,
                'nothing': lambda e: [hook_pb2.HookUp()],
                '65 actions': lambda e: [verdict(e.number, *[hooking.CHECKPOINT] * 65)],
                '33 settings': lambda e: [verdict(e.number, settings)],
                'an empty action': lambda e: [verdict(e.number, hook_pb2.HookAction())],
                'a long error': lambda e: [verdict(e.number, error='x' * 2000)],
                'a long reason': lambda e: [verdict(e.number, act(stop=hook_pb2.StopAction(reason='x' * 2000)))],
                '10,000 verdicts': lambda e: [verdict(e.number + i) for i in range(10000)]}.items():
            with self.subTest(what):
                remote = hooking.Remote(self.hooks, self.job, lambda e: [remote.send(up) for up in answer(e)] and None,
                                        name=what[:60], deadline_seconds=20)
                self.thrown_out(remote)
                self.wait_listed(self.job, lambda hooks: list(hooks) == [self.good.id], 'it is removed')
        self.assertNotIn('checkpoint', {e.kind for e in self.audit(self.job)})

    def test_a_flood_of_verdicts_and_words(self):
        """64 wishes at each event are allowed; what cannot be done at once is refused or waits, but the job trains."""
        wishes = [act(put_scalar=job_pb2.Scalar(name=f'flood{i}', value=i)) for i in range(32)]
        wishes += [set_to(weight_decay=f'0.00{i + 10}') for i in range(32)]
        floods = [self.attach(self.job, lambda e: wishes, name=f'flood{k}', points=STEP, asynchronous=k == 1,
                              on_error=IGNORE, deadline_seconds=20) for k in range(2)]
        for flood in floods:
            flood.wait_events(20)
        self.further(self.job, 10)
        self.assertEqual([flood.leave() for flood in floods], [Code.OK] * 2)
        self.assertEqual(set(self.column(self.job, 'flood31').values()), {31})
        self.audit(self.job)  # sound

    def test_texts_that_are_no_text(self):
        """Bad UTF-8 inside a verdict, names of knobs and scalars out of all bounds."""
        def raw(event, field, payload):
            body = b'\x08' + bytes([event.number]) + field + bytes([len(payload)]) + payload
            return b'\x12' + bytes([len(body)]) + body

        for what, make in {'error': lambda e: raw(e, b'\x1a', b'\xff\xfe'),
                           'reason': lambda e: raw(e, b'\x12', b'\x0a\x04\x0a\x02\xc3\x28'),
                           'scalar': lambda e: raw(e, b'\x12', b'\x32\x04\x0a\x02\xc0\x80'),
                           'group': lambda e: raw(e, b'\x13', b'\x00')}.items():
            with self.subTest(what):
                messages = hooking.queue.Queue()
                messages.put(self.register(name=what))
                call = self.channel.stream_stream(ATTACH, lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
                                                  hook_pb2.HookDown.FromString)(iter(messages.get, None), timeout=30)
                with self.assertRaises(grpc.RpcError) as caught:
                    for down in call:
                        if down.WhichOneof('kind') == 'event' and down.event.number == 1:
                            messages.put(make(down.event))
                messages.put(None)
                self.assertEqual(caught.exception.code(), Code.INVALID_ARGUMENT, caught.exception.details())
                self.wait_listed(self.job, lambda hooks: list(hooks) == [self.good.id], 'it is removed')
        odd = self.attach(self.job, lambda e: [act(put_scalar=job_pb2.Scalar(name='a\nb"\\\u2028', value=1)),
                                               set_to(**{'lr\n': 1})], name='odd \u202e\n"', on_error=IGNORE)
        odd.wait_events(3)
        self.assertEqual(odd.leave(), Code.OK)
        self.audit(self.job)

    def test_garbage_on_the_connection(self):
        rng = random.Random(3)
        settings = b'\0\0\0\4\0\0\0\0\0'
        for data in [b'', b'GET / HTTP/1.1\r\n\r\n', PREFACE, PREFACE + settings, PREFACE + settings + b'\0\0\5\1\4\0\0\0\1zzzzz',
                     PREFACE + settings + b'\xff\xff\xff\0\0\0\0\0\1', PREFACE + settings * 5000,
                     PREFACE + settings + b'\0\0\10\6\0\0\0\0\0pingpong' * 20000,
                     *[PREFACE * (i % 2) + settings * (i % 2) + rng.randbytes(20000) for i in range(20)]]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(self.daemon.socket))
                try:
                    connection.sendall(data)
                except (BrokenPipeError, ConnectionResetError, socket.timeout):
                    pass  # refused before the end; or nobody reads answers to pings

    def test_clients_that_never_read(self):
        """Events are kept up to a bound, then missed; a gap in their numbers tells."""
        names = [f'{i:02d}' + 'x' * 150 for i in range(60)]
        fat = self.attach(self.job, lambda e: [act(put_scalar=job_pb2.Scalar(name=n, value=e.iteration)) for n in names],
                          name='fat', deadline_seconds=20)
        own = grpc.insecure_channel(f'unix:{self.daemon.socket}',  # whose window does not grow
                                    [('grpc.http2.bdp_probe', 0), ('grpc.use_local_subchannel_pool', 1)])
        deaf = hooking.Remote(hook_pb2_grpc.HookServiceStub(own), self.job, start=False, name='deaf', points=STEP, asynchronous=True)
        self.wait_listed(self.job, lambda hooks: any(h.name == 'deaf' and h.missed > 3 for h in hooks.values()), 'missed')
        self.assertEqual(fat.leave(), Code.OK)
        self.assertLess(common.usage(self.daemon.process.pid)[0], self.before[0] + MOST_GROWTH)
        deaf.thread.start()
        common.wait_for(lambda: any(b.number > a.number + 3 for a, b in zip(deaf.events, deaf.events[1:])), 30, 'a gap')
        numbers = [e.number for e in deaf.events]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(deaf.leave(), Code.OK)
        own.close()

    def test_many_clients(self):
        """Those who come and go at once leave nothing; of too many at once some are refused."""
        for count in (40, 100):
            calls = [self.bare(self.register(name='brief')) for _ in range(count)]
            for call in calls[::2]:
                call.cancel()
            codes = [self.code_of(call) for call in calls[1::2]]  # the half-close removes it
            self.assertLessEqual(set(codes), {Code.OK, Code.RESOURCE_EXHAUSTED})
            self.assertGreaterEqual(codes.count(Code.OK), 20)
        self.wait_listed(self.job, lambda hooks: list(hooks) == [self.good.id], 'all are gone')


def client(path, job, policy):
    stub = hook_pb2_grpc.HookServiceStub(grpc.insecure_channel(f'unix:{path}'))
    remote = hooking.Remote(stub, job, name=f'policy{policy}', on_lost=policy, points=STEP, deadline_seconds=30)
    print(remote.wait_attached().id, flush=True)
    remote.ended.wait()


if __name__ == '__main__':
    if sys.argv[1:2] == ['--client']:
        client(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        common.main()
