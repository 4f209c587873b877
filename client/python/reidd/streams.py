"""Streams that go on where they were when reidd comes back."""
from __future__ import annotations

import collections
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar

import grpc

from .errors import Cancelled, DeadlineExceeded, translate, is_loss
from .records import Event, LogLine, Metrics

if TYPE_CHECKING:
    from .connection import Connection

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
TRY_EVERY_SECONDS = 0.25
LINE_BYTES = 64 << 10  # a longer one is broken


class Stream(Iterator[T], Generic[T]):
    """An iterator over what a job tells. close() ends it, from any thread; it is a context manager, too.

    While it follows a job, a reidd that goes away is looked for during `patience` seconds.
    """

    def __init__(self, connection: Connection, job: str, follow: bool, patience: float, deadline: Optional[float] = None):
        self._connection = connection
        self._job = job
        self._follow = follow
        self._patience = patience
        self._deadline = deadline  # of time.monotonic()
        self._ready: collections.deque[T] = collections.deque()
        self._call: Any = None
        self._lost_at: Optional[float] = None
        self._again = False
        self._ended = False

    # ---- what each stream has of its own ----

    def _open(self, timeout: Optional[float]) -> Any:
        raise NotImplementedError

    def _take(self, message: Any) -> Iterable[T]:
        raise NotImplementedError

    def _finish(self) -> Iterable[T]:
        return ()

    # ---- iterator ----

    def __next__(self) -> T:
        while not self._ready:
            if self._ended:
                raise StopIteration
            self._step()
        return self._ready.popleft()

    def close(self) -> None:
        self._ended = True
        self._ready.clear()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # ---- the connection ----

    def _restart(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._call = None

    def _left(self) -> Optional[float]:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"job {self._job} has not ended in time") from None
        return left

    def _step(self) -> None:
        try:
            if self._call is None:
                self._call = self._open(self._left())
            message = next(self._call)
        except StopIteration:
            self._call = None
            if not self._follow or self._job_has_ended():
                self._ended = True
                self._ready.extend(self._finish())
        except grpc.RpcError as error:
            self._call = None
            self._lose(error)
        else:
            self._lost_at = None
            if not self._ended:
                self._ready.extend(self._take(message))

    def _lose(self, error: Any) -> None:
        if self._ended:
            return
        self._left()
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        if not is_loss(error) or not self._follow or now - self._lost_at > self._patience:
            self._ended = True
            raise translate(error, self._connection.address) from None
        time.sleep(TRY_EVERY_SECONDS)

    def _job_has_ended(self) -> bool:
        """A stream may also end because reidd stops."""
        if self._ended:
            return True
        try:
            return self._connection.job(self._job).state.ended
        except (ConnectionError, Cancelled):
            time.sleep(TRY_EVERY_SECONDS)
            return False


class MetricStream(Stream[Metrics]):
    """Rows of scalars. `cursor` is (attempt, seq) of the last one: give it as `after` to go on later, in another process, too.

    `missed` counts rows that reidd could not give any more.
    """

    def __init__(self, connection: Connection, job: str, follow: bool, patience: float, names: Iterable[str],
                 after: tuple[int, int]) -> None:
        super().__init__(connection, job, follow, patience)
        self._names = list(names)
        self._taken = after  # on the way: rows that are not given out yet
        self.cursor: tuple[int, int] = after
        self.missed = 0

    def _open(self, timeout: Optional[float]) -> Any:
        attempt, seq = self._taken
        return self._connection.jobs_service.Metrics(self._connection.pb.MetricsRequest(
            id=self._job, attempt=attempt, seq=seq, follow=self._follow, names=self._names), timeout=timeout)

    def _take(self, message: Any) -> Iterable[Metrics]:
        if message.missed > 0 and not self._again:
            self._again = True  # reidd keeps them: fetch from the cursor
            self._restart()
            return
        self.missed += message.missed
        for row in message.rows:
            if (row.attempt, row.seq) > self._taken:
                self._taken = (row.attempt, row.seq)
                self._again = False
                yield Metrics(row)

    def __next__(self) -> Metrics:
        row = super().__next__()
        self.cursor = (row.attempt, row.seq)
        return row


class EventStream(Stream[Event]):
    """What happened to a job. `cursor` is the number of the last event."""

    def __init__(self, connection: Connection, job: str, follow: bool, patience: float, after: int) -> None:
        super().__init__(connection, job, follow, patience)
        self._taken = after
        self.cursor = after

    def _open(self, timeout: Optional[float]) -> Any:
        return self._connection.jobs_service.Events(self._connection.pb.EventsRequest(
            id=self._job, after=self._taken, follow=self._follow), timeout=timeout)

    def _take(self, message: Any) -> Iterable[Event]:
        for e in message.events:
            if e.number > self._taken:
                self._taken = e.number
                yield Event(e.number, e.attempt, e.wall_ms / 1000, e.kind, e.detail)

    def __next__(self) -> Event:
        event = super().__next__()
        self.cursor = event.number
        return event


_Log = tuple[int, bool, str]  # rank, from_stderr, node


class LogStream(Stream[LogLine]):
    """Lines of the ranks' logs, of one attempt."""

    def __init__(self, connection: Connection, job: str, follow: bool, patience: float, ranks: Iterable[int],
                 tail_lines: int, attempt: int) -> None:
        super().__init__(connection, job, follow, patience)
        self._ranks = list(ranks)
        self._tail_lines = tail_lines
        self._attempt = attempt
        self._next: dict[_Log, int] = {}  # offset of the byte that comes next
        self._start: dict[_Log, bytes] = {}  # of a line whose end has not come

    def _open(self, timeout: Optional[float]) -> Any:
        tail = 0 if self._next else self._tail_lines  # after a loss the offsets tell what is new
        return self._connection.jobs_service.Logs(self._connection.pb.LogsRequest(
            id=self._job, ranks=self._ranks, follow=self._follow, tail_lines=tail, attempt=self._attempt), timeout=timeout)

    @staticmethod
    def _line(key: _Log, line: bytes) -> LogLine:
        return LogLine(key[0] if key[0] >= 0 else None, line.decode("utf-8", "replace").rstrip("\r\n"), key[1], key[2])

    def _take(self, message: Any) -> Iterable[LogLine]:
        key = (message.rank, message.from_stderr, message.node)
        seen = max(0, self._next.get(key, message.offset) - message.offset)
        if seen >= len(message.data):
            return
        self._next[key] = message.offset + len(message.data)
        lines = (self._start.pop(key, b"") + message.data[seen:]).splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n") and len(lines[-1]) < LINE_BYTES:
            self._start[key] = lines.pop()
        for line in lines:
            yield self._line(key, line)

    def _finish(self) -> Iterable[LogLine]:
        return [self._line(key, line) for key, line in sorted(self._start.items())]


class WatchStream(Stream[Any]):
    """The job's message, as it is now and after each change."""

    def _open(self, timeout: Optional[float]) -> Any:
        return self._connection.jobs_service.Watch(self._connection.pb.WatchJobRequest(id=self._job), timeout=timeout)

    def _take(self, message: Any) -> Iterable[Any]:
        return (message,)


