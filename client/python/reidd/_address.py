"""Where reidd listens when nobody says otherwise: the rules of reidd and reidctl."""
from __future__ import annotations

import os
import pathlib
import re
from typing import Optional

from .errors import InvalidArgument

SOCKET_PATH_BYTES = 107
_TCP = re.compile(r"tcp://([A-Za-z0-9._-]+|\[[A-Za-z0-9:.%_-]+\]):[0-9]{1,5}", re.ASCII)


def _folder(name: str) -> str:
    value = os.environ.get(name, "")
    return value if value.startswith("/") else ""


def _state_dir() -> str:
    if os.environ.get("REIDD_STATE_DIR"):
        return os.path.abspath(os.path.expanduser(os.environ["REIDD_STATE_DIR"]))
    base = _folder("XDG_STATE_HOME")
    return f"{base}/reidd" if base else os.path.expanduser("~/.local/state/reidd")


def find(address: Optional[str] = None) -> str:
    """"unix:/path" or "tcp://host:port": the address given, else $REIDD_HOST, else the default place. A path stands for itself."""
    given = address or os.environ.get("REIDD_HOST", "")
    if not given:
        if os.geteuid() == 0:
            return "unix:/run/reidd/reidd.sock"
        runtime = _folder("XDG_RUNTIME_DIR")
        return f"unix:{runtime}/reidd/reidd.sock" if runtime else f"unix:{_state_dir()}/reidd.sock"
    if not given.startswith("unix:") and "/" in given and "://" not in given:
        given = "unix:" + os.path.abspath(os.path.expanduser(given))
    if given.startswith("tcp:"):
        if not _TCP.fullmatch(given) or int(given.rpartition(":")[2]) > 65535:
            raise InvalidArgument(f"cannot use address '{given}': write it as tcp://host:port")
        return given
    path = given[len("unix:"):]
    if path.startswith("//"):
        path = path[2:]
    if not given.startswith("unix:") or not path or (given.startswith("unix://") and not path.startswith("/")):
        raise InvalidArgument(f"cannot use address '{given}': only unix:/path/to/socket and tcp://host:port are supported")
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise InvalidArgument(f"cannot use socket '{path}': its path is longer than {SOCKET_PATH_BYTES} bytes")
    return f"unix:{path}"


def identity(given: Optional[str]) -> tuple[bytes, bytes, bytes]:
    """ca.pem, key.pem and cert.pem of the folder given, else of $REIDD_TLS_DIR."""
    folder = given or os.environ.get("REIDD_TLS_DIR", "")
    if not folder:
        raise InvalidArgument("a tcp:// address needs a certificate: name its folder by tls_dir or $REIDD_TLS_DIR")
    try:
        ca, key, certificate = (pathlib.Path(folder, name).read_bytes() for name in ("ca.pem", "key.pem", "cert.pem"))
    except OSError as error:
        raise InvalidArgument(f"cannot read the certificate: {error}") from None
    return ca, key, certificate
