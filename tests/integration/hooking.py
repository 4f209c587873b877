"""Remote hooks as a stock gRPC client makes them, and jobs for them to look at. Shared by the tests of hooks."""
import json
import queue
import threading

import common
import stubs
from stubs import grpc

from reid.v1 import control_pb2, control_pb2_grpc, hook_pb2, hook_pb2_grpc, job_pb2, job_pb2_grpc  # noqa: E402

Code = grpc.StatusCode
POINTS = dict(before_train=1, after_train=2, before_epoch=3, after_epoch=4, before_step=5, after_step=6)
NAMES = {number: name for name, number in POINTS.items()}
ALL = list(POINTS.values())
STEP = [POINTS['before_step'], POINTS['after_step']]
IGNORE, DISABLE, FAIL = 1, 2, 3
ENABLED, DISABLED, REMOVED = 1, 2, 3
# A rate that stays, no evaluation: 6 iterations an epoch.
QUIET = ['SOLVER.BASE_LR', '0.00035', 'SOLVER.WARMUP_ITERS', '0', 'SOLVER.SCHED', 'MultiStepLR', 'SOLVER.STEPS', '[1000]',
         'TEST.EVAL_PERIOD', '0']
ENDLESS = [*QUIET, 'SOLVER.MAX_EPOCH', '20000']


def act(**kind):
    return hook_pb2.HookAction(**kind)


def set_to(**knobs):
    return act(set=hook_pb2.SetAction(settings=[control_pb2.Setting(name=k, value=str(v)) for k, v in knobs.items()]))


SKIP = act(skip_step=hook_pb2.SkipStepAction())
EVALUATE = act(evaluate=hook_pb2.EvaluateAction())
CHECKPOINT = act(checkpoint=hook_pb2.CheckpointAction())


def where(event):
    return NAMES[event.point], event.iteration


def by_place(plan):
    """The answer of a client that acts at some places: {('before_step', 8): [SKIP], …}."""
    return lambda event: plan.get(where(event), [])


class Remote:
    """A remote hook with a thread of its own. answer(event): a list of actions, a text (the hook fails), or None: no verdict."""

    def __init__(self, stub, job, answer=lambda event: [], start=True, **register):
        self.events, self.notices = [], []
        self.attached, self.error = None, None
        self.answer = answer
        self.up = queue.Queue()
        self.ready, self.ended = threading.Event(), threading.Event()
        register.setdefault('points', [POINTS['after_step']])
        register.setdefault('deadline_seconds', 60)  # a busy machine makes nobody late
        self.send(hook_pb2.HookUp(register=hook_pb2.RegisterHook(job=job, **register)))
        self.call = stub.Attach(iter(self.up.get, None))
        self.thread = threading.Thread(target=self.read, daemon=True)
        if start:
            self.thread.start()

    def send(self, up):
        self.up.put(up)

    def verdict(self, number, actions=(), error=''):
        self.send(hook_pb2.HookUp(verdict=hook_pb2.HookVerdict(event=number, actions=actions, error=error)))

    def read(self):
        try:
            for down in self.call:
                self.take(down, down.WhichOneof('kind'))
        except grpc.RpcError as error:
            self.error = error
        self.ready.set()
        self.ended.set()
        self.up.put(None)

    def take(self, down, kind):
        if kind == 'attached':
            self.attached = down.attached
            self.ready.set()
        elif kind == 'notice':
            self.notices.append(down.notice)
        else:
            self.events.append(down.event)
            answer = self.answer(down.event)
            if isinstance(answer, str):
                self.verdict(down.event.number, error=answer)
            elif answer is not None:
                self.verdict(down.event.number, answer)

    def wait_attached(self, seconds=30):
        assert self.ready.wait(seconds * common.PATIENCE), 'not attached in time'
        assert self.error is None, self.error
        return self

    def wait_events(self, count, seconds=30):
        common.wait_for(lambda: len(self.events) >= count or self.ended.is_set(), seconds, f'{count} events')
        assert len(self.events) >= count, (self.error, len(self.events))
        return self

    def leave(self, seconds=30):
        """Half-closes; the stream must end well."""
        self.up.put(None)
        return self.wait_end(seconds)

    def wait_end(self, seconds=60):
        """How the stream ended."""
        assert self.ended.wait(seconds * common.PATIENCE), 'the stream does not end'
        return Code.OK if self.error is None else self.error.code()

    @property
    def id(self):
        return self.attached.hook

    def places(self):
        return [where(e) for e in self.events]

    def steps(self):
        return [place for place in self.places() if place[0].endswith('_step')]


class HookCase(common.Case):
    """A daemon for all tests of a class."""
    slots = 4

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = common.Daemon(cls.folder / 'state', '--slots', str(cls.slots))
        cls.connect()

    @classmethod
    def connect(cls):
        cls.channel = grpc.insecure_channel(f'unix:{cls.daemon.socket}')
        cls.jobs = job_pb2_grpc.JobServiceStub(cls.channel)
        cls.control = control_pb2_grpc.ControlServiceStub(cls.channel)
        cls.hooks = hook_pb2_grpc.HookServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.cancel_all()
        cls.channel.close()
        cls.daemon.stop()
        super().tearDownClass()

    def tearDown(self):
        self.cancel_all()

    @classmethod
    def cancel_all(cls):
        jobs = json.loads(cls.daemon.ctl('ps', '-o', 'json').stdout or '[]')
        for job in jobs:
            cls.jobs.Cancel(job_pb2.CancelJobRequest(id=job['id'], grace_seconds=0.5), timeout=20)
        for job in jobs:
            cls.daemon.wait_state(job['id'], ('CANCELLED', 'FAILED', 'SUCCEEDED'), 20)

    def submit(self, name, *more, ranks=common.RANKS, options=()):
        done = self.daemon.ctl('submit', '--name', name, '-n', ranks, *options, common.CONFIG,
                               *self.overrides(name, *more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def attach(self, job, answer=lambda event: [], **register):
        return Remote(self.hooks, job, answer, **register).wait_attached()

    def running(self, name, *more, **options):
        """A job that has done a few steps."""
        job = self.submit(name, *(more or ENDLESS), **options)
        common.wait_for(lambda: self.iteration(job) > 2, 60, 'it trains')
        return job

    def iteration(self, job):
        return self.jobs.Get(job_pb2.GetJobRequest(id=job), timeout=20).progress.iteration

    def further(self, job, steps=5):
        """Waits for so many more iterations: the job goes on."""
        now = self.iteration(job)
        common.wait_for(lambda: self.iteration(job) >= now + steps, 30, f'{steps} more iterations after {now}')

    def ends(self, job, state='SUCCEEDED', seconds=90):
        return self.daemon.wait_state(job, (state,), seconds)

    def list(self, job):
        """Hooks from outside, by id, in their order."""
        return {h.id: h for h in self.hooks.List(hook_pb2.ListHooksRequest(job=job), timeout=20).hooks if h.id != 0}

    def wait_listed(self, job, condition, what):
        """The list once the condition holds. The newest hook is in it from the iteration on that it was added before."""
        def look():
            hooks = self.list(job)
            try:
                return (hooks,) if condition(hooks) else None
            except KeyError:
                return None
        return common.wait_for(look, 90, what)[0]

    def audit(self, job):
        entries, more = [], True
        while more:
            after = entries[-1].seq if entries else 0
            answer = self.control.Audit(control_pb2.AuditRequest(id=job, after_seq=after), timeout=20)
            self.assertTrue(answer.sound, answer.fault)
            entries += answer.entries
            more = answer.more
        return entries

    def events_of(self, job, kind='hook'):
        return [e.detail for chunk in self.jobs.Events(job_pb2.EventsRequest(id=job), timeout=20) for e in chunk.events
                if e.kind == kind]

    def column(self, job, name):
        return {r['iteration']: r['metrics'][name] for r in self.daemon.rows(job) if name in r['metrics']}

    def refused(self, code, word, call):
        """The call fails with this code and one sentence."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.sentence(caught.exception.details(), word)

    def sentence(self, text, word):
        self.assertIn(word, text)
        self.assertNotIn('\n', text)
        self.assertGreater(len(text), 10)

    def thrown_out(self, remote, word=''):
        self.assertEqual(remote.wait_end(20), Code.INVALID_ARGUMENT, remote.error)
        self.sentence(remote.error.details(), word)


def places_of(first, last, per_epoch=6):
    """Every place of the iterations first to last - 1, without before_train and after_train."""
    found = []
    for i in range(first, last):
        if i % per_epoch == 0:
            found.append(('before_epoch', i))
        found += [('before_step', i), ('after_step', i)]
        if (i + 1) % per_epoch == 0:
            found.append(('after_epoch', i + 1))
    return found
