"""From what a user has (file, text, dict, CfgNode, overrides) to the resolved text that reidd takes.

Keys and values are judged by reidd. Here bases are merged, overrides are applied, and paths are made absolute where the
user stands, as `reidctl submit` does.
"""
from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

from .errors import InvalidArgument

BASE = "_BASE_"
BASES_MAX = 16

Tree = dict[str, Any]
Overrides = Union[Mapping[str, Any], Iterable[Any], None]


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ImportError("reading YAML needs PyYAML (pip install PyYAML); a dict or a CfgNode is taken without it") from None
    return yaml


def _parse(text: str, name: str) -> Tree:
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        """A key that is given twice is an error."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [k.value for k, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        tree = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{name}: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InvalidArgument(f"{name}: a configuration is a mapping of keys")
    return tree


def _merge(tree: Tree, child: Mapping[str, Any]) -> None:
    """The child wins. A section that is empty in the child (YAML null) changes nothing."""
    for key, value in child.items():
        below = tree.get(key)
        if isinstance(value, Mapping):
            if not isinstance(below, dict):
                below = tree[key] = {}
            _merge(below, value)
        elif not (value is None and isinstance(below, dict)):
            tree[key] = value


def _load_file(path: str, children: tuple[str, ...] = ()) -> Tree:
    real = os.path.realpath(path)
    if real in children:
        raise InvalidArgument(f"{path}: {BASE} leads back to itself")
    if len(children) >= BASES_MAX:
        raise InvalidArgument(f"{path}: more than {BASES_MAX} files, each the {BASE} of another")
    try:
        with open(path, encoding="utf-8") as file:
            tree = _parse(file.read(), path)
    except OSError as error:
        raise InvalidArgument(f"cannot open '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path}: is not UTF-8") from None
    base = tree.pop(BASE, None)
    if base is None:
        return tree
    if not isinstance(base, str) or not base:
        raise InvalidArgument(f"{path}: {BASE} takes the path of one file")
    if "://" in base:
        raise InvalidArgument(f"{path}: {BASE} '{base}' is on the web; fetch the file and give its path")
    whole = _load_file(os.path.join(os.path.dirname(path), os.path.expanduser(base)), (*children, real))
    _merge(whole, tree)
    return whole


def _load(config: Any) -> Tree:
    if isinstance(config, Mapping):  # a CfgNode, too
        tree: Tree = {}
        _merge(tree, config)
        return tree
    if isinstance(config, str) and "\n" in config:
        return _parse(config, "configuration")
    if isinstance(config, (str, os.PathLike)):
        return _load_file(os.fspath(config))
    if callable(getattr(config, "dump", None)):
        return _parse(str(config.dump()), "configuration")
    raise InvalidArgument(f"a configuration is a path, a text, a dict or a CfgNode, not {type(config).__name__}")


def pairs(overrides: Overrides) -> list[tuple[str, Any]]:
    """{'A.B': 1}, {'A': {'B': 1}}, ['A.B', 1], ['A.B=1'] → [('A.B', 1)]."""
    found: list[tuple[str, Any]] = []
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            if isinstance(value, Mapping):
                found.extend((f"{key}.{below}", deep) for below, deep in pairs(value))
            else:
                found.append((str(key), value))
        return found
    if isinstance(overrides, str):
        raise InvalidArgument("overrides are a dict, or a list of KEY, VALUE, KEY, VALUE…")
    words = iter(overrides or ())
    for word in words:
        key, equals, text = str(word).partition("=")
        if equals:
            found.append((key, text))
            continue
        try:
            found.append((key, next(words)))
        except StopIteration:
            raise InvalidArgument(f"overrides: {key} has no value") from None
    return found


def _section(tree: Tree, key: str) -> tuple[Tree, str]:
    *sections, last = key.split(".")
    for name in sections:
        if not isinstance(tree.get(name), dict):
            if tree.get(name) is not None:
                raise InvalidArgument(f"{key}: {name} is no section of keys")
            tree[name] = {}
        tree = tree[name]
    return tree, last


def _make_absolute(tree: Tree, key: str, otherwise: str) -> None:
    if not otherwise and key.partition(".")[0] not in tree:
        return
    section, name = _section(tree, key)
    value = section.get(name) or otherwise
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value and isinstance(value, str):
        section[name] = os.path.abspath(os.path.expanduser(value))


def _plain(value: Any) -> Any:
    """What json does not know: numpy's numbers, paths."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(getattr(value, "item", None)):
        return value.item()
    if callable(getattr(value, "isoformat", None)):
        return value.isoformat()
    raise InvalidArgument(f"a configuration cannot hold a {type(value).__name__}")


def resolve(config: Any, overrides: Overrides = None, output_dir: Optional[str] = None) -> str:
    """The configuration as JSON, which is YAML. `output_dir` replaces OUTPUT_DIR where the overrides do not name it."""
    tree = _load(config)
    if output_dir is not None:
        tree["OUTPUT_DIR"] = output_dir
    for key, value in pairs(overrides):
        section, name = _section(tree, key)
        section[name] = value
    _make_absolute(tree, "OUTPUT_DIR", "logs/")
    _make_absolute(tree, "MODEL.WEIGHTS", "")
    _make_absolute(tree, "DATASETS.ROOT", os.environ.get("FASTREID_DATASETS") or "datasets")
    try:
        return json.dumps(tree, default=_plain, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"the configuration cannot be written: {error}") from None
