"""A job: look, wait, steer, hook."""
from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _config
from ._stubs import pb
from .attach import HookHandle, Registration, policy
from .errors import FailedPrecondition, InvalidArgument, JobFailed
from .hooks import HookBase
from .records import (Audit, Change, Failure, HookInfo, JobPhase, JobState, JournalEntry, Progress, job_phase, job_state,
                      number_text)
from .streams import PATIENCE_SECONDS, EventStream, LogStream, MetricStream, WatchStream

if TYPE_CHECKING:
    from .connection import Connection

HookId = Union[int, str, HookInfo, HookHandle]


class Job:
    """As it was when reidd was last asked: refresh(), wait() and watch() look again."""

    def __init__(self, connection: Connection, message: Any) -> None:
        self._connection = connection
        self._message = message
        self._config = message.config_yaml

    def __repr__(self) -> str:
        return f"<reidd.Job {self.id} {self.name!r} {self.state}>"

    # ---- what it is ----

    @property
    def id(self) -> str:
        return str(self._message.id)

    @property
    def name(self) -> str:
        return str(self._message.name)

    @property
    def user(self) -> str:
        return str(self._message.user)

    @property
    def ranks(self) -> int:
        return int(self._message.ranks)

    @property
    def output_dir(self) -> str:
        return str(self._message.output_dir)

    @property
    def config(self) -> str:
        """The configuration as YAML text."""
        if not self._config:
            self.refresh()
        return str(self._config)

    @property
    def state(self) -> JobState:
        return job_state(self._message.state)

    @property
    def phase(self) -> JobPhase:
        return job_phase(self._message.phase)

    @property
    def ended(self) -> bool:
        return self.state.ended

    @property
    def detail(self) -> str:
        """What it waits for or does, a sentence."""
        return str(self._message.detail)

    @property
    def attempt(self) -> int:
        return int(self._message.attempt)

    @property
    def queue_position(self) -> Optional[int]:
        return self._message.queue_position or None

    @property
    def priority(self) -> int:
        return int(self._message.priority)

    @property
    def held(self) -> bool:
        return bool(self._message.held)

    @property
    def placement(self) -> str:
        """Where the ranks of the newest attempt are: 'node1:2,node3:2'; '' when all are on the head."""
        return str(self._message.placement)

    @property
    def start_by(self) -> Optional[float]:
        """When it starts at the latest (Unix seconds), as far as time limits of others tell; None: not known."""
        return self._message.start_by_ms / 1000 if self._message.start_by_ms else None

    @property
    def exit_code(self) -> Optional[int]:
        """None before the end."""
        return int(self._message.exit_code) if self.ended else None

    @property
    def progress(self) -> Progress:
        p = self._message.progress
        return Progress(p.iteration, p.max_iteration, p.epoch, p.max_epoch, p.eta_seconds if p.eta_seconds >= 0 else None,
                        p.images_per_second)

    @property
    def failure(self) -> Optional[Failure]:
        """The first cause, of a FAILED job."""
        if not self._message.HasField("failure"):
            return None
        f = self._message.failure
        return Failure(f.sentence, f.rank if f.rank >= 0 else None, f.exit_code, f.signal)

    @property
    def latest(self) -> dict[str, float]:
        """The newest value of each metric."""
        return {s.name: s.value for s in self._message.latest}

    # ---- looking ----

    def _take(self, message: Any) -> Job:
        self._message = message
        self._config = message.config_yaml or self._config
        return self

    def refresh(self) -> Job:
        return self._take(self._connection.call(self._connection.jobs_service.Get, pb.GetJobRequest(id=self.id)))

    def watch(self, *, timeout: Optional[float] = None, patience: float = PATIENCE_SECONDS) -> Iterator[Job]:
        """This job, again and again: now and after every change, until it has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with WatchStream(self._connection, self.id, True, patience, deadline) as stream:
            for message in stream:
                yield self._take(message)

    def wait(self, timeout: Optional[float] = None, *, check: bool = False, patience: float = PATIENCE_SECONDS) -> Job:
        """Until it has ended. DeadlineExceeded (a TimeoutError) after `timeout` seconds. With `check`, JobFailed unless it has
        succeeded. A reidd that goes away is looked for during `patience` seconds."""
        for _ in self.watch(timeout=timeout, patience=patience):
            pass
        if check and self.state != JobState.SUCCEEDED:
            cause = f": {self.failure.sentence}" if self.failure else ""
            raise JobFailed(f"job {self.id} ({self.name}) is {self.state}{cause}")
        return self

    def metrics(self, follow: bool = False, *, names: Iterable[str] = (), after: tuple[int, int] = (0, 0),
                patience: float = PATIENCE_SECONDS) -> MetricStream:
        """Every scalar of every iteration, then live while `follow` is set and the job has not ended. `names`: globs."""
        return MetricStream(self._connection, self.id, follow, patience, [names] if isinstance(names, str) else names, after)

    def events(self, follow: bool = False, *, after: int = 0, patience: float = PATIENCE_SECONDS) -> EventStream:
        """What happened to the job: states, control words, hooks that failed."""
        return EventStream(self._connection, self.id, follow, patience, after)

    def logs(self, follow: bool = False, *, ranks: Union[int, Iterable[int]] = (), tail_lines: int = 0, attempt: int = 0,
             patience: float = PATIENCE_SECONDS) -> LogStream:
        """Lines of the ranks' logs; without `ranks` those of all, and the launcher's."""
        return LogStream(self._connection, self.id, follow, patience, [ranks] if isinstance(ranks, int) else ranks,
                         tail_lines, attempt or self.refresh().attempt)

    # ---- control words; each returns the iteration that all ranks have agreed on, and the journal's entries ----

    def _control(self, method: str, at_iter: int, reason: str) -> Change:
        return Change.of(self._connection.call(getattr(self._connection.control_service, method),
                                               pb.ControlRequest(id=self.id, at_iter=at_iter, reason=reason)))

    def set(self, settings: Optional[Mapping[str, Any]] = None, *, at_iter: int = 0, reason: str = "", **knobs: Any) -> Change:
        """job.set(lr=1e-4, at_iter=5000, reason='plateau'): all knobs before the same iteration, or none."""
        rows = [pb.Setting(name=k, value=number_text(v)) for k, v in {**(settings or {}), **knobs}.items()]
        request = pb.SetRequest(id=self.id, settings=rows, at_iter=at_iter, reason=reason)
        return Change.of(self._connection.call(self._connection.control_service.Set, request))

    def checkpoint(self, *, at_iter: int = 0, reason: str = "") -> Change:
        return self._control("Checkpoint", at_iter, reason)

    def evaluate(self, *, at_iter: int = 0, reason: str = "") -> Change:
        return self._control("Evaluate", at_iter, reason)

    def stop(self, *, at_iter: int = 0, reason: str = "") -> Change:
        """Saves a checkpoint and ends the job well."""
        return self._control("Stop", at_iter, reason)

    def pause(self, *, at_iter: int = 0, reason: str = "") -> Change:
        """Saves a checkpoint and frees slots and memory, until resume()."""
        return self._control("Pause", at_iter, reason)

    def skip_step(self, *, at_iter: int = 0, reason: str = "") -> Change:
        """Drops the batch of one iteration."""
        return self._control("SkipStep", at_iter, reason)

    def profile(self, steps: int = 10, *, at_iter: int = 0, reason: str = "") -> Change:
        """A Chrome trace per rank of the next steps, in the output folder."""
        request = pb.ProfileRequest(id=self.id, at_iter=at_iter, reason=reason, steps=steps)
        return Change.of(self._connection.call(self._connection.control_service.Profile, request))

    def resume(self, *, reason: str = "") -> Job:
        """Of a PAUSED job: it goes on where it was."""
        return self._take(self._connection.call(self._connection.control_service.Resume,
                                                pb.ResumeRequest(id=self.id, reason=reason)))

    def cancel(self, *, grace: float = 0.0, reason: str = "") -> Job:
        """Asks it to stop, and ends it after `grace` seconds (0: reidd's default). Returns at once."""
        request = pb.CancelJobRequest(id=self.id, grace_seconds=grace, reason=reason)
        return self._take(self._connection.call(self._connection.jobs_service.Cancel, request))

    def _ask_queue(self, method: str, reason: str) -> Job:
        call = getattr(self._connection.jobs_service, method)
        return self._take(self._connection.call(call, pb.JobRequest(id=self.id, reason=reason)))

    def hold(self, *, reason: str = "") -> Job:
        """Of a PENDING job: it does not start before release()."""
        return self._ask_queue("Hold", reason)

    def release(self, *, reason: str = "") -> Job:
        return self._ask_queue("Release", reason)

    def requeue(self, *, reason: str = "") -> Job:
        """Back into the queue at its old place: a job that runs saves its state first; one that has failed, was cancelled or
        stopped early goes on from its last checkpoint, if it has one."""
        return self._ask_queue("Requeue", reason)

    def remove(self) -> Job:
        """Of a job that has ended: reidd forgets it, with its metrics, events and logs; its output folder stays. Afterwards
        this object is what it last was; asking reidd for it is NotFound. FailedPrecondition while it has not ended, or while
        another job waits for it (`after`)."""
        return self._ask_queue("Remove", "")

    def set_priority(self, priority: int, *, reason: str = "") -> Job:
        """The larger, the sooner; above 0 for admins only."""
        request = pb.PriorityRequest(id=self.id, priority=priority, reason=reason)
        return self._take(self._connection.call(self._connection.jobs_service.SetPriority, request))

    def audit(self) -> Audit:
        """The whole journal, checked."""
        entries: list[JournalEntry] = []
        while True:
            m = self._connection.call(self._connection.control_service.Audit,
                                      pb.AuditRequest(id=self.id, after_seq=entries[-1].seq if entries else 0))
            entries.extend(JournalEntry.of(e) for e in m.entries)
            if not m.more or not m.entries:
                return Audit(tuple(entries), m.sound, m.fault, m.fault_line, m.path)

    def fork(self, at_iter: int = 0, overrides: _config.Overrides = None, *, ranks: int = 0, name: str = "") -> Job:
        """A new job that begins with the state that this one had before `at_iter` (0: of its last checkpoint), with this one's
        configuration and `overrides`. Without OUTPUT_DIR in them it writes beside this job's folder."""
        folder = _free_folder(f"{self.output_dir}-fork" + (f"-{at_iter}" if at_iter else ""))
        text = _config.resolve(self.config if "\n" in self.config else self.config + "\n", overrides, folder)
        return self._connection.submit_text(text, ranks or self.ranks, name=name, fork=pb.Fork(job=self.id, at_iter=at_iter))

    # ---- hooks ----

    def register_hook(self, hook: HookBase, *, name: str = "", every: int = 1, when: str = "", scalars: Iterable[str] = (),
                      asynchronous: bool = False, deadline: float = 1.0, on_late: str = "ignore", on_lost: str = "ignore",
                      on_error: str = "disable", reason: str = "") -> HookHandle:
        """Calls the methods of `hook`, in a thread, around the steps of this job. Hooks are called in the order in which they
        were registered.

        Returns when all ranks have agreed on it; for a job that does not train yet at once, and then it sees every step.
        every: before_step and after_step of each iteration with (iteration + 1) % every == 0, as in fast-reid.
        when: and only while this holds, such as "total_loss > 5 and iter >= 100"; reidd evaluates it.
        scalars: globs of the metrics that come along; empty: all.
        asynchronous: the training does not wait for the hook; what it asks for takes effect as soon as possible.
        deadline: seconds that a synchronous hook may take, at most 60.
        on_late, on_lost, on_error: 'ignore', 'disable' or 'fail' when it is late, when this process dies, when it raises.
        """
        handle = HookHandle(self, hook, Registration(
            name=name or type(hook).__name__, every=every, when=when,
            scalars=(scalars,) if isinstance(scalars, str) else tuple(scalars), asynchronous=asynchronous, deadline=deadline,
            on_late=on_late, on_lost=on_lost, on_error=on_error, reason=reason))
        self.refresh()
        handle.start()
        waits = self.state in (JobState.PENDING, JobState.STARTING, JobState.PAUSED)
        if not waits and not (self.state == JobState.RUNNING and (self.progress.iteration == 0 or self.phase == JobPhase.LOADING)):
            handle.wait_attached()
        return handle

    def hooks(self) -> list[HookInfo]:
        """In the order in which they are called."""
        answer = self._connection.call(self._connection.hook_service.List, pb.ListHooksRequest(job=self.id))
        return [HookInfo.of(m) for m in answer.hooks]

    def _add_hook(self, name: str, every: int, when: str, on_error: str, at_iter: int, reason: str,
                  options: Mapping[str, Any], **what: str) -> Change:
        rows = [pb.Setting(name=k, value=number_text(v)) for k, v in options.items()]
        request = pb.AddHookRequest(job=self.id, name=name, options=rows, every=every, when=when,
                                    on_error=policy("on_error", on_error), at_iter=at_iter, reason=reason, **what)
        return Change.of(self._connection.call(self._connection.hook_service.Add, request))

    def add_lua(self, script: Union[str, "os.PathLike[str]"], *, name: str = "", every: int = 1, when: str = "",
                on_error: str = "disable", at_iter: int = 0, reason: str = "", **options: Any) -> Change:
        """A Lua 5.4 script: a path, or text with at least one end of line. The new hook's id is in `.hook`."""
        if isinstance(script, os.PathLike) or "\n" not in script:
            path = os.fspath(script)
            try:
                with open(path, encoding="utf-8") as file:
                    script = file.read()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidArgument(f"cannot read '{path}': {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
            name = name or os.path.basename(path)
        return self._add_hook(name, every, when, on_error, at_iter, reason, options, lua=script)

    def add_native(self, file: str, *, name: str = "", every: int = 1, when: str = "", on_error: str = "disable",
                   at_iter: int = 0, reason: str = "", **options: Any) -> Change:
        """A shared object in reidd's hook folder, such as 'example.so'."""
        return self._add_hook(name, every, when, on_error, at_iter, reason, options, native=file)

    def add_builtin(self, builtin: str, *, name: str = "", every: int = 1, when: str = "", at_iter: int = 0,
                    reason: str = "", **options: Any) -> Change:
        """A hook of the training, such as 'PeriodicCheckpointer'. It runs on all ranks; where it fails, the job fails."""
        return self._add_hook(name, every, when, "fail", at_iter, reason, options, builtin=builtin)

    def _change_hook(self, method: str, hook: HookId, at_iter: int, reason: str) -> Change:
        request = pb.HookRequest(job=self.id, at_iter=at_iter, reason=reason)
        if isinstance(hook, str):
            request.name = hook
        else:
            request.hook = hook if isinstance(hook, int) else hook.id
        return Change.of(self._connection.call(getattr(self._connection.hook_service, method), request))

    def remove_hook(self, hook: HookId, *, at_iter: int = 0, reason: str = "") -> Change:
        """By id, by name, or as register_hook() or hooks() gave it."""
        return self._change_hook("Remove", hook, at_iter, reason)

    def enable_hook(self, hook: HookId, *, at_iter: int = 0, reason: str = "") -> Change:
        return self._change_hook("Enable", hook, at_iter, reason)

    def disable_hook(self, hook: HookId, *, at_iter: int = 0, reason: str = "") -> Change:
        return self._change_hook("Disable", hook, at_iter, reason)


def _free_folder(folder: str) -> str:
    """The first of folder, folder.2, … that is not there, as reidctl does."""
    for i in range(1, 1000):
        name = folder if i == 1 else f"{folder}.{i}"
        if not os.path.exists(name):
            return name
    raise FailedPrecondition(f"{folder} is taken; give an OUTPUT_DIR")
