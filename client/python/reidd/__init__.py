"""Client of reidd, the training daemon.

    import reidd

    job = reidd.connect().submit("config.yml", ranks=2)
    for m in job.metrics(follow=True):
        print(m.iteration, m["total_loss"])
"""
from .attach import HookHandle
from .connection import Connection, connect
from .errors import (AlreadyExists, Cancelled, DeadlineExceeded, Error, FailedPrecondition, Internal, InvalidArgument, JobFailed,
                     NotFound, PermissionDenied, ResourceExhausted, Unavailable, Unimplemented)
from .hooks import EventStorage, HistoryBuffer, HookBase, Trainer
from .job import Job
from .records import (Audit, Change, Event, Failure, HookInfo, HookState, Info, JobPhase, JobState, JournalEntry, LogLine,
                      Metrics, Progress)

__version__ = "0.1.0"
__all__ = [
    "AlreadyExists", "Audit", "Cancelled", "Change", "Connection", "DeadlineExceeded", "Error", "Event", "EventStorage",
    "FailedPrecondition", "Failure", "HistoryBuffer", "HookBase", "HookHandle", "HookInfo", "HookState", "Info", "Internal",
    "InvalidArgument", "Job", "JobFailed", "JobPhase", "JobState", "JournalEntry", "LogLine", "Metrics", "NotFound",
    "PermissionDenied", "Progress", "ResourceExhausted", "Trainer", "Unavailable", "Unimplemented", "connect",
]
