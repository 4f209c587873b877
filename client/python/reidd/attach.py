"""A remote hook's stream: events in, verdicts out, in one thread per hook."""
from __future__ import annotations

import dataclasses
import logging
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

import grpc

from ._stubs import enum_value, pb
from .errors import DeadlineExceeded, Error, FailedPrecondition, InvalidArgument, Internal, translate
from .hooks import TEXT_BYTES, HookBase, Trainer, overridden_points
from .records import HookState, hook_state, point_name

if TYPE_CHECKING:
    from .job import Job

LEAVE_SECONDS = 10.0
log = logging.getLogger("reidd")


def policy(field: str, word: str) -> int:
    try:
        return enum_value("HookPolicy", "HOOK_POLICY_", word)
    except ValueError as error:
        raise InvalidArgument(f"{field}: {error}") from None


@dataclasses.dataclass(frozen=True)
class Registration:
    """See Job.register_hook."""

    name: str
    every: int
    when: str
    scalars: tuple[str, ...]
    asynchronous: bool
    deadline: float
    on_late: str
    on_lost: str
    on_error: str
    reason: str

    def message(self, job: str, points: list[str]) -> Any:
        if self.every < 1:
            raise InvalidArgument(f"every is {self.every}, but must be at least 1")
        if not 0 < self.deadline <= 60:
            raise InvalidArgument(f"deadline is {self.deadline:g} s, but must be above 0 and at most 60")
        return pb.RegisterHook(
            job=job, name=self.name, points=[enum_value("HookPoint", "HOOK_POINT_", p) for p in points], every=self.every,
            when=self.when, scalars=self.scalars, asynchronous=self.asynchronous, deadline_seconds=self.deadline,
            on_late=policy("on_late", self.on_late), on_lost=policy("on_lost", self.on_lost),
            on_error=policy("on_error", self.on_error), reason=self.reason)


def _sentence(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text.encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore")


class HookHandle:
    """A registered hook. A context manager: leaving it removes the hook."""

    def __init__(self, job: Job, hook: HookBase, registration: Registration) -> None:
        if not isinstance(hook, HookBase):
            raise InvalidArgument(f"a hook is an instance of a subclass of reidd.HookBase, not {type(hook).__name__}")
        points = overridden_points(hook)
        if not points:
            raise InvalidArgument(f"{type(hook).__name__} has none of the six methods of a hook")
        before = getattr(hook, "trainer", None)
        if isinstance(before, Trainer) and not before._over:
            raise InvalidArgument("this hook object is registered already; make another one")
        self.name = registration.name
        self._hook = hook
        self._methods = {enum_value("HookPoint", "HOOK_POINT_", p): (p, getattr(hook, p)) for p in points}
        self._job = job
        self._first = pb.HookUp(register=registration.message(job.id, points))
        self._outbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._sent = threading.Event()  # the first message
        self._attached = threading.Event()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._leaving = False
        self._busy = False  # an event is being answered
        self._broken = False
        self._state = HookState.UNSPECIFIED
        self._id = 0
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, name=f"reidd-hook-{self.name}", daemon=True)
        #: What the hook's methods last raised, or the Error that ended the stream.
        self.error: Optional[BaseException] = None
        #: What reidd last said about the hook, such as why it was disabled.
        self.notice = ""

    def __repr__(self) -> str:
        return f"<reidd.HookHandle {self._id or '-'} {self.name!r} {self._state}>"

    # ---- what it is ----

    @property
    def id(self) -> int:
        """Unique in the job. Waits until all ranks have agreed on the hook."""
        self.wait_attached()
        return self._id

    @property
    def enabled(self) -> bool:
        """Whether reidd calls it."""
        return self._state is HookState.ENABLED and not self._done.is_set()

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    def wait_attached(self, timeout: Optional[float] = None) -> HookHandle:
        """Until all ranks have agreed on it; raises why it was refused."""
        if not self._attached.wait(timeout):
            raise DeadlineExceeded(f"hook {self.name} is not attached yet")
        if self._id == 0:
            raise self._reason() or FailedPrecondition(f"hook {self.name}: the job ended before it was attached")
        return self

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Until it was removed or the training has ended. False: not within `timeout` seconds. Raises the Error that ended its
        stream, if one did; what its own methods raised is in `error`."""
        if not self._done.wait(timeout):
            return False
        if threading.current_thread() is not self._thread:
            self._thread.join()
        reason = self._reason()
        if reason is not None:
            raise reason
        return True

    def _reason(self) -> Optional[Error]:
        return self.error if self._broken and isinstance(self.error, Error) else None

    def remove(self, timeout: float = LEAVE_SECONDS) -> None:
        """Takes the hook out of the training. From within the hook: after this method."""
        with self._lock:
            self._leaving = True
            if not self._busy:  # else after the answer
                self._outbox.put(None)
        if threading.current_thread() is self._thread:
            return
        if not self._attached.is_set() or not self._done.wait(timeout):
            self._call.cancel()
            self._done.wait()
        self._thread.join()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()

    # ---- the stream ----

    def start(self) -> HookHandle:
        """Opens the stream. Returns once the registration is on its way, so that hooks keep their order."""
        self._hook.trainer = Trainer()
        self._call = self._job._connection.hook_service.Attach(self._up())
        self._thread.start()
        while not self._sent.wait(0.05) and not self._done.is_set():
            pass
        return self

    def _up(self) -> Iterator[Any]:
        yield self._first
        self._sent.set()  # asked for the next: the first has been handed over
        get = self._outbox.get
        while True:
            message = get()
            if message is None:
                return
            yield message

    def _run(self) -> None:
        try:
            for down in self._call:
                self._take(down)
        except grpc.RpcError as error:
            if not (self._leaving and error.code() is grpc.StatusCode.CANCELLED):
                self._break(translate(error, self._job._connection.address))
        except Exception as error:  # what came could not be used
            self._call.cancel()
            self._break(Internal(f"hook {self.name}: {_sentence(error)}"))
        finally:
            self._state = HookState.REMOVED
            self._hook.trainer._over = True
            self._done.set()
            self._attached.set()
            self._sent.set()
            self._outbox.put(None)

    def _break(self, error: Error) -> None:
        self.error = error
        self._broken = True
        log.error("hook %s has lost its stream: %s", self.name, error)

    def _take(self, down: Any) -> None:
        kind = down.WhichOneof("kind")
        if kind == "event":
            if self._id == 0:
                raise Internal("an event came before the hook was attached")
            self._take_event(down.event)
        elif kind == "attached":
            self._id = down.attached.hook
            self._hook.trainer._start_iter = down.attached.iteration
            self._state = HookState.ENABLED
            self._attached.set()
        elif kind == "notice":
            self._state = hook_state(down.notice.state)
            self.notice = down.notice.sentence
            if self._state is HookState.DISABLED:
                log.warning("hook %s is disabled: %s", self.name, self.notice)

    def _take_event(self, event: Any) -> None:
        with self._lock:
            if self._leaving:
                return
            self._busy = True
        verdict = self._answer(event)
        with self._lock:
            self._busy = False
            self._outbox.put(pb.HookUp(verdict=verdict))
            if self._leaving:
                self._outbox.put(None)

    def _answer(self, event: Any) -> Any:
        point, method = self._methods.get(event.point, (point_name(event.point), None))
        if method is None:
            raise Internal(f"an event came for {point}, which the hook has not asked for")
        trainer = self._hook.trainer
        actions = trainer._begin(event, point)
        try:
            method()
            return pb.HookVerdict(event=event.number, actions=actions)
        except BaseException as error:  # SystemExit, too: the verdict must go out
            self.error = error
            log.exception("hook %s: %s has raised at iteration %d", self.name, point, event.iteration)
            return pb.HookVerdict(event=event.number, error=_sentence(error))
        finally:
            trainer._end()
