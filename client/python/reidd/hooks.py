"""HookBase, and what a hook sees of the training: as in fast-reid, as far as a stream of events can tell."""
from __future__ import annotations

import collections
import math
import statistics
from typing import Any, Optional

from ._stubs import pb
from .errors import FailedPrecondition, InvalidArgument
from .records import number_text

POINTS = ("before_train", "after_train", "before_epoch", "after_epoch", "before_step", "after_step")
HISTORY_LENGTH = 2000  # samples of each metric that are kept
ACTIONS_MAX = 64  # of one call
SETTINGS_MAX = 32  # of one set()
TEXT_BYTES = 1000


class HookBase:
    """Base of hooks. Override some of the six methods, and give an instance to job.register_hook().

    self.trainer is there from registration on. An exception ends the method, and the hook's on_error policy applies.
    """

    trainer: "Trainer"

    def before_train(self) -> None:
        """Before the first iteration; at once for a hook that comes later."""

    def after_train(self) -> None:
        """After the last iteration, also when the training has failed."""

    def before_epoch(self) -> None:
        pass

    def after_epoch(self) -> None:
        pass

    def before_step(self) -> None:
        pass

    def after_step(self) -> None:
        pass


def overridden_points(hook: HookBase) -> list[str]:
    """Those that are more than HookBase's empty ones."""
    return [p for p in POINTS if getattr(getattr(hook, p), "__func__", None) is not getattr(HookBase, p)]


class HistoryBuffer:
    """The samples of one metric that this hook has seen, one per event; the last HISTORY_LENGTH of them are kept."""

    __slots__ = ("_samples", "_count", "_mean")

    def __init__(self) -> None:
        self._samples: collections.deque[tuple[float, int]] = collections.deque(maxlen=HISTORY_LENGTH)
        self._count = 0
        self._mean = 0.0

    def update(self, value: float, iteration: int) -> None:
        self._samples.append((value, iteration))
        self._count += 1
        self._mean += (value - self._mean) / self._count

    def _last(self, window: int) -> list[float]:
        if window < 1:
            raise ValueError("a window has at least one sample")
        return [v for v, _ in self._samples][-window:]

    def latest(self) -> float:
        return self._samples[-1][0]

    def median(self, window_size: int) -> float:
        return statistics.median(self._last(window_size))

    def avg(self, window_size: int) -> float:
        return statistics.fmean(self._last(window_size))

    def global_avg(self) -> float:
        """Of all samples, those that are not kept included."""
        return self._mean

    def values(self) -> list[tuple[float, int]]:
        """(value, iteration)."""
        return list(self._samples)


class EventStorage:
    """self.trainer.storage: the metrics that came with the events, and a way to put more."""

    __slots__ = ("_trainer", "_latest", "_histories")

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._latest: dict[str, tuple[float, int]] = {}
        self._histories: dict[str, HistoryBuffer] = {}

    @property
    def iter(self) -> int:
        return self._trainer.iter

    iteration = step = iter

    @property
    def epoch(self) -> int:
        return self._trainer.epoch

    def latest(self) -> dict[str, tuple[float, int]]:
        """{name: (newest value, iteration of the event that brought it)}."""
        return dict(self._latest)

    def history(self, name: str) -> HistoryBuffer:
        """KeyError when the metric has not come yet (see `scalars` of register_hook)."""
        try:
            return self._histories[name]
        except KeyError:
            raise KeyError(f"no history of metric {name!r} has come") from None

    def histories(self) -> dict[str, HistoryBuffer]:
        return dict(self._histories)

    def put_scalar(self, name: str, value: float, smoothing_hint: bool = False) -> None:
        """Into the job's metrics, at this iteration. Metrics of hooks are shown as they are, never smoothed."""
        if smoothing_hint:
            raise InvalidArgument(f"metric {name!r}: what a hook puts is not smoothed")
        self._trainer._act(put_scalar=pb.Scalar(name=_text("a metric's name", name), value=float(value)))

    def put_scalars(self, *, smoothing_hint: bool = False, **scalars: float) -> None:
        for name, value in scalars.items():
            self.put_scalar(name, value, smoothing_hint)

    def __getattr__(self, name: str) -> Any:
        if name == "latest_with_smoothing_hint":
            raise AttributeError("the stream of events doesn't tell which metrics want smoothing; use history(name).median(20)")
        raise AttributeError(f"the storage of a remote hook has no '{name}': it has latest(), history(), histories(), "
                             "put_scalar(), put_scalars(), iter and epoch")

    def _take(self, scalars: Any, iteration: int, after_step: bool) -> None:
        for scalar in scalars:
            name, value = scalar.name, scalar.value
            history = self._histories.get(name)
            if history is None:
                history = self._histories[name] = HistoryBuffer()
                news = True
            else:  # between steps a value that is the same is the same sample
                old = self._latest[name][0]
                news = after_step or not (value == old or (math.isnan(value) and math.isnan(old)))
            if news:
                history.update(value, iteration)
                self._latest[name] = (value, iteration)


class Trainer:
    """self.trainer: where the training is, and what can be asked of it. What a method asks for is sent when it returns.

    iter: in before_step and after_step this iteration, elsewhere the iterations done. start_iter: the first that this hook
    sees. point: the name of the method that runs.
    """

    __slots__ = ("_event", "_actions", "_lr", "point", "_start_iter", "_over", "storage")

    def __init__(self) -> None:
        self._event: Any = pb.HookEvent()
        self._actions: Optional[list[Any]] = None
        self._lr = 0.0
        self._start_iter = 0
        self._over = False
        self.point = ""
        self.storage = EventStorage(self)

    @property
    def iter(self) -> int:
        return int(self._event.iteration)

    @property
    def max_iter(self) -> int:
        return int(self._event.max_iteration)

    @property
    def epoch(self) -> int:
        return int(self._event.epoch)

    @property
    def max_epoch(self) -> int:
        return int(self._event.max_epoch)

    @property
    def start_iter(self) -> int:
        return self._start_iter

    @property
    def lr(self) -> float:
        """The learning rate. Setting it is set(lr=…): before_step's holds for this very step, after_step's for the next."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.set(lr=value)
        self._lr = float(value)

    def set(self, **knobs: Any) -> None:
        """Knobs as in Job.set: lr, weight_decay, …"""
        if not knobs:
            raise InvalidArgument("set() without a knob")
        if len(knobs) > SETTINGS_MAX:
            raise InvalidArgument(f"set() takes {SETTINGS_MAX} knobs at most")
        self._act(set=pb.SetAction(settings=[
            pb.Setting(name=_text("a knob's name", k), value=_text(k, number_text(v))) for k, v in knobs.items()]))

    def stop(self, reason: str = "") -> None:
        """Save a checkpoint and end the job well."""
        self._act(stop=pb.StopAction(reason=_text("a reason", reason)))

    def checkpoint(self) -> None:
        self._act(checkpoint=pb.CheckpointAction())

    def evaluate(self) -> None:
        self._act(evaluate=pb.EvaluateAction())

    def skip_step(self) -> None:
        """In before_step: drop this step's batch; elsewhere the next one's."""
        self._act(skip_step=pb.SkipStepAction())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the trainer of a remote hook has no '{name}': the training runs in other processes; here are "
                             "iter, max_iter, start_iter, epoch, max_epoch, lr, storage, point, set(), stop(), checkpoint(), "
                             "evaluate() and skip_step()")

    # ---- for attach.py ----

    def _act(self, **action: Any) -> None:
        if self._actions is None:
            raise FailedPrecondition("a hook can ask for something only while one of its methods runs")
        if len(self._actions) >= ACTIONS_MAX:
            raise InvalidArgument(f"a hook can ask for {ACTIONS_MAX} things at most in one call")
        self._actions.append(pb.HookAction(**action))

    def _begin(self, event: Any, point: str) -> list[Any]:
        self._event = event
        self._lr = event.lr
        self.point = point
        self.storage._take(event.scalars, event.iteration, point == "after_step")
        self._actions = []
        return self._actions

    def _end(self) -> None:
        self._actions = None


def _text(what: str, text: str) -> str:
    if not isinstance(text, str):
        raise InvalidArgument(f"{what} is text, not {type(text).__name__}")
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES:
        raise InvalidArgument(f"{what} is longer than {TEXT_BYTES} bytes")
    return text
