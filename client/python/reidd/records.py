"""What reidd tells, as plain values."""
from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ._stubs import enum_word


class _Word(str, enum.Enum):
    def __str__(self) -> str:
        return str(self.value)


class JobState(_Word):
    """Compares with text: job.state == 'RUNNING'."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobPhase(_Word):
    UNSPECIFIED = "UNSPECIFIED"
    LOADING = "LOADING"
    TRAINING = "TRAINING"
    EVALUATING = "EVALUATING"
    SAVING = "SAVING"


class HookState(_Word):
    UNSPECIFIED = "UNSPECIFIED"
    ENABLED = "ENABLED"
    DISABLED = "DISABLED"
    REMOVED = "REMOVED"


def _member(kind: Any, name: str, prefix: str, value: int) -> Any:
    try:
        return kind(enum_word(name, prefix, value))
    except ValueError:
        return kind("UNSPECIFIED")  # from a newer reidd


def job_state(value: int) -> JobState:
    return _member(JobState, "JobState", "JOB_STATE_", value)  # type: ignore[no-any-return]


def job_phase(value: int) -> JobPhase:
    return _member(JobPhase, "JobPhase", "JOB_PHASE_", value)  # type: ignore[no-any-return]


def hook_state(value: int) -> HookState:
    return _member(HookState, "HookState", "HOOK_STATE_", value)  # type: ignore[no-any-return]


def point_name(value: int) -> str:
    """"after_step"."""
    return enum_word("HookPoint", "HOOK_POINT_", value).lower()


@dataclasses.dataclass(frozen=True)
class Progress:
    iteration: int  # finished
    max_iteration: int
    epoch: int
    max_epoch: int
    eta_seconds: Optional[float]
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class Failure:
    sentence: str  # the first cause
    rank: Optional[int]
    exit_code: int
    signal: int


class Metrics(Mapping[str, float]):
    """All scalars of one iteration: m.iteration, m.epoch, m['total_loss']."""

    __slots__ = ("iteration", "epoch", "attempt", "seq", "time", "_values")

    def __init__(self, row: Any) -> None:
        self.iteration: int = row.iteration
        self.epoch: int = row.epoch
        self.attempt: int = row.attempt
        self.seq: int = row.seq
        self.time: float = row.wall_ms / 1000  # Unix time
        self._values: dict[str, float] = {s.name: s.value for s in row.scalars}

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics(iteration={self.iteration}, epoch={self.epoch}, {self._values})"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    number: int
    attempt: int
    time: float
    kind: str
    detail: str


@dataclasses.dataclass(frozen=True)
class LogLine:
    rank: Optional[int]  # None: the launcher
    text: str  # without its end of line
    from_stderr: bool
    node: str = ""  # of the launcher: which node's; "": the head's


@dataclasses.dataclass(frozen=True)
class JournalEntry:
    seq: int
    request: str  # settings of one request share it
    time: float
    who: str
    iteration: int  # it takes effect before this one
    kind: str
    name: str
    old: str
    new: str
    reason: str
    hash: str

    @classmethod
    def of(cls, m: Any) -> JournalEntry:
        return cls(m.seq, m.id, m.wall_ms / 1000, m.who, m.iteration, m.kind, m.name, m.old, m.new, m.reason, m.hash)


@dataclasses.dataclass(frozen=True)
class Change:
    """A word that all ranks have agreed on: it takes effect before `iteration`."""

    iteration: int
    entries: tuple[JournalEntry, ...]
    hook: Optional[int] = None  # its id, where a hook was changed

    @classmethod
    def of(cls, m: Any) -> Change:
        return cls(m.iteration, tuple(JournalEntry.of(e) for e in m.entries), getattr(m, "hook", None))


@dataclasses.dataclass(frozen=True)
class Audit:
    """A job's journal. `sound`: hashes and chain are right, and all that reidd was told is there."""

    entries: tuple[JournalEntry, ...]
    sound: bool
    fault: str
    fault_line: int
    path: str

    def __iter__(self) -> Iterator[JournalEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclasses.dataclass(frozen=True)
class HookInfo:
    """A row of job.hooks()."""

    id: int  # 0: of the training itself
    name: str
    kind: str
    state: HookState
    points: tuple[str, ...]
    every: int
    when: str
    asynchronous: bool
    iteration: int
    who: str
    calls: int
    late: int
    missed: int
    seconds: float
    last_error: str

    @classmethod
    def of(cls, m: Any) -> HookInfo:
        return cls(m.id, m.name, m.kind, hook_state(m.state), tuple(point_name(p) for p in m.points), m.every, m.when,
                   m.asynchronous, m.iteration, m.who, m.calls, m.late, m.missed, m.seconds, m.last_error)


@dataclasses.dataclass(frozen=True)
class Info:
    """The daemon."""

    version: str
    revision: str
    pid: int
    started: float
    slots: int
    slots_used: int
    state_dir: str
    node: str
    features: tuple[str, ...]


def number_text(value: Any) -> str:
    """A knob's value as text, every digit kept; numpy's numbers, too."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return json.dumps(value) if isinstance(value, bool) else str(value)
    return str(int(value)) if hasattr(value, "__index__") else float.__repr__(float(value))
