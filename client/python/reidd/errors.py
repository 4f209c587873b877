"""What can go wrong: one class per gRPC code, with reidd's own sentence as text."""
from __future__ import annotations

from typing import Any

import grpc


class Error(Exception):
    """Base of all errors of this package."""


class Cancelled(Error):
    pass


class InvalidArgument(Error, ValueError):
    pass


class DeadlineExceeded(Error, TimeoutError):
    pass


class NotFound(Error, LookupError):
    pass


class AlreadyExists(Error):
    pass


class PermissionDenied(Error):
    pass


class ResourceExhausted(Error):
    pass


class FailedPrecondition(Error):
    pass


class Unimplemented(Error, NotImplementedError):
    pass


class Unavailable(Error, ConnectionError):
    """reidd cannot be reached, or went away."""


class Internal(Error):
    """reidd, or what came from it, is broken."""


class JobFailed(Error):
    """A job has not succeeded; the text has the first cause."""


_CLASSES: dict[Any, type[Error]] = {
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: FailedPrecondition,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}


def is_loss(error: Any) -> bool:
    """Whether the connection broke, rather than that reidd said no."""
    code = error.code()
    return code is grpc.StatusCode.UNAVAILABLE or (code is grpc.StatusCode.UNKNOWN
                                                   and "Stream removed" in (error.details() or ""))


def translate(error: Any, address: str) -> Error:
    """From grpc.RpcError."""
    code, details = error.code(), error.details() or ""
    if is_loss(error):
        return Unavailable(f"reidd at {address} cannot be reached: {details}")
    return _CLASSES.get(code, Internal)(details or f"reidd at {address} answered {code.name} without a word")
