"""The connection to one reidd."""
from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Optional, Union

import grpc

from . import _address, _config
from ._stubs import Service, enum_value, pb
from .errors import InvalidArgument, NotFound, translate
from .job import Job
from .records import Info, JobState

MESSAGE_BYTES = 64 << 20
CALL_SECONDS = 60.0
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def _open_channel(address: str, tls_dir: Optional[str]) -> grpc.Channel:
    if not address.startswith("tcp://"):
        return grpc.insecure_channel(address, options=_OPTIONS)
    ca, key, certificate = _address.identity(tls_dir)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return grpc.secure_channel(address[len("tcp://"):], credentials, options=_OPTIONS)


class Connection:
    """Made by connect(). May be used by several threads, not after a fork. A context manager: leaving it closes it.

    `timeout`: seconds for one answer; also how long a control word may take until all ranks have agreed on it.
    """

    pb = pb

    def __init__(self, address: str, timeout: float = CALL_SECONDS, tls_dir: Optional[str] = None) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = _open_channel(address, tls_dir)
        self.jobs_service: Any = Service(self._channel, "JobService")
        self.control_service: Any = Service(self._channel, "ControlService")
        self.hook_service: Any = Service(self._channel, "HookService")
        self.system_service: Any = Service(self._channel, "SystemService")

    def call(self, method: Any, request: Any, timeout: Optional[float] = None) -> Any:
        """One request, one answer; errors are reidd.Error."""
        try:
            return method(request, timeout=self.timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise translate(error, self.address) from None
        except ValueError as error:  # the channel is closed
            raise InvalidArgument(f"the connection to {self.address} cannot be used: {error}") from None

    def close(self) -> None:
        """Ends all calls and hooks of this connection; jobs go on."""
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def info(self, timeout: Optional[float] = None) -> Info:
        m = self.call(self.system_service.Info, pb.InfoRequest(), timeout)
        return Info(m.version, m.revision, m.pid, m.started_ms / 1000, m.slots, m.slots_used, m.state_dir, m.node,
                    tuple(m.features))

    def submit(self, config: Any, ranks: int = 1, *, name: str = "", overrides: _config.Overrides = None,
               resume: bool = False, eval_only: bool = False, max_restarts: int = 0, restart_backoff: float = 0.0,
               priority: int = 0, after: Union[Job, str, Iterable[Union[Job, str]]] = (), max_time: float = 0.0,
               gpu_type: str = "", hold: bool = False, no_preempt: bool = False, min_ranks: int = 0) -> Job:
        """Queues a job. `config`: path of a YAML file, YAML text, a dict, or a CfgNode. `overrides`: a dict
        {'SOLVER.MAX_EPOCH': 60} or a list ['SOLVER.MAX_EPOCH', 60]. Relative paths are of the working folder.

        `priority`: the larger, the sooner, above 0 for admins only. `after`: jobs that must have succeeded before it starts;
        as 'JOB:any', that must have ended. `max_time`: seconds after which it is saved and stopped; 0: no limit. `gpu_type`: a
        part of the GPUs' name. `hold`: not before release(). `no_preempt`: never paused for a job of higher priority.
        `min_ranks`: after a failure it may go on with fewer ranks, down to so many, while there is no room for all."""
        words = [after] if isinstance(after, (Job, str)) else list(after)
        return self.submit_text(_config.resolve(config, overrides), ranks, name=name, resume=resume, eval_only=eval_only,
                                max_restarts=max_restarts, restart_backoff_seconds=restart_backoff, priority=priority,
                                after=[w.id if isinstance(w, Job) else w for w in words], max_time_seconds=max_time,
                                gpu_type=gpu_type, hold=hold, no_preempt=no_preempt, min_ranks=min_ranks)

    def submit_text(self, text: str, ranks: int, **more: Any) -> Job:
        try:
            request = pb.SubmitRequest(config_yaml=text, ranks=ranks, **more)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"submit: {error}") from None
        return Job(self, self.call(self.jobs_service.Submit, request))

    def jobs(self, states: Iterable[Union[JobState, str]] = (), limit: int = 0) -> list[Job]:
        """Newest first. `states` such as ('RUNNING', 'PENDING'); empty: all."""
        try:
            wanted = [enum_value("JobState", "JOB_STATE_", str(s)) for s in ([states] if isinstance(states, str) else states)]
        except ValueError as error:
            raise InvalidArgument(f"states: {error}") from None
        answer = self.call(self.jobs_service.List, pb.ListJobsRequest(states=wanted, limit=limit))
        return [Job(self, m) for m in answer.jobs]

    def job(self, id: str) -> Job:
        """By id, unique prefix of an id, or name (the newest job of that name)."""
        if not id:
            raise NotFound("a job has an id or a name")
        return Job(self, self.call(self.jobs_service.Get, pb.GetJobRequest(id=id)))


def connect(address: Union[str, "os.PathLike[str]", None] = None, *, timeout: float = CALL_SECONDS,
            tls_dir: Union[str, "os.PathLike[str]", None] = None) -> Connection:
    """To reidd at `address` (unix:/path, a path or tcp://host:port), else at $REIDD_HOST, else where it listens by itself.

    `tls_dir`: folder of ca.pem, cert.pem and key.pem, made by `reidctl ca issue`, for tcp:// (else $REIDD_TLS_DIR).
    Unavailable when it is not there."""
    connection = Connection(_address.find(None if address is None else os.fspath(address)), timeout,
                            None if tls_dir is None else os.fspath(tls_dir))
    try:
        connection.info(timeout=min(timeout, 5.0))
    except BaseException:
        connection.close()
        raise
    return connection
