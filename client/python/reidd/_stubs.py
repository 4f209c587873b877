"""Messages and methods of proto/reid/v1, made at import from the descriptors that the build leaves beside this file.

No generated code: it would be bound to the protobuf and grpcio of the machine that built it. The pool is our own, so that a
program may use stubs of the same files beside this package.
"""
import pathlib
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FILE = pathlib.Path(__file__).with_name("_descriptors.binpb")


def _message_class(pool: Any, descriptor: Any) -> Any:
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def _load() -> tuple[Any, dict[str, Any]]:
    if not _FILE.is_file():
        raise ImportError("reidd is not built: this is its source folder. Install it (pip install client/python), "
                          "or use the folder python/ of a CMake build")
    pool = descriptor_pool.DescriptorPool()
    names = SimpleNamespace()
    services: dict[str, Any] = {}
    # Imports come first in such a set.
    for file in descriptor_pb2.FileDescriptorSet.FromString(_FILE.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
        described = pool.FindFileByName(file.name)
        for name, message in described.message_types_by_name.items():
            setattr(names, name, _message_class(pool, message))
        for name, enum in described.enum_types_by_name.items():
            setattr(names, name, enum)
        services.update({s.full_name: s for s in described.services_by_name.values()})
    return names, services


pb, _services = _load()


class Service:
    """The methods of one service on a channel, as attributes."""

    def __init__(self, channel: Any, name: str) -> None:
        for method in _services[f"reid.v1.{name}"].methods:
            row = descriptor_pb2.MethodDescriptorProto()
            method.CopyToProto(row)
            shape = "_".join("stream" if s else "unary" for s in (row.client_streaming, row.server_streaming))
            setattr(self, method.name, getattr(channel, shape)(
                f"/reid.v1.{name}/{method.name}",
                request_serializer=getattr(pb, method.input_type.name).SerializeToString,
                response_deserializer=getattr(pb, method.output_type.name).FromString))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no method {name}")


def enum_value(enum: str, prefix: str, word: str) -> int:
    """enum_value('HookPolicy', 'HOOK_POLICY_', 'ignore'); ValueError when there is no such word."""
    row = getattr(pb, enum).values_by_name.get(prefix + word.upper())
    if row is None or row.number == 0:
        known = [n[len(prefix):].lower() for n, v in getattr(pb, enum).values_by_name.items() if v.number != 0]
        raise ValueError(f"{word!r} is none of {', '.join(known)}")
    return int(row.number)


def enum_word(enum: str, prefix: str, value: int) -> str:
    """The word in capital letters; the number as text when it is from a newer reidd."""
    row = getattr(pb, enum).values_by_number.get(value)
    return str(value) if row is None else str(row.name[len(prefix):])
