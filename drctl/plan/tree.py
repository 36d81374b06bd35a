"""YAML as a tree of mappings, lists and text, each with where it stands in the file.

Scalars stay the text that the person wrote, so `no`, `010` and `12:30` are never turned into
something else; what a value must be is the model's business. Tags, duplicate keys, several
documents and explosive aliases are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
Value = str | None | list[Any] | dict[str, Any]

_MOST_BYTES = 1 << 20
_MOST_NODES = 50_000
_MOST_DEPTH = 24
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake. Lines and columns count from 1."""

    line: int
    column: int
    where: str  # dotted path, empty for the file as a whole
    what: str

    def show(self, file: str) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{file}:{self.line}:{self.column}: {where}{self.what}"


@dataclass(slots=True)
class Tree:
    """`keys` and `values`: path -> (line, column) of a mapping's key, of a value."""

    root: Value = None
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, what: str, *, at_value: bool = False) -> None:
        """A problem, told where the key stands, or its value, or the nearest thing that is
        there."""
        line, column = self.position(path, at_value=at_value)
        self.problems.append(Problem(line, column, dotted(path), what))

    def position(self, path: Path, *, at_value: bool = False) -> tuple[int, int]:
        first, second = (self.values, self.keys) if at_value else (self.keys, self.values)
        for end in range(len(path), -1, -1):
            found = first.get(path[:end]) or second.get(path[:end])
            if found:
                return found
        return 1, 1


def dotted(path: Path) -> str:
    """A path for people: `assets.uploads.files.paths[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse(data: bytes) -> Tree:
    """Every problem of form is in the tree's `problems`; with one that leaves nothing to read,
    `root` is None."""
    tree = Tree()
    try:
        node = _compose(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        tree.problems.append(Problem(line, column, "", f"not YAML: {error.problem}"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else _form(error)
        tree.problems.append(Problem(1, 1, "", what))
    else:
        if node is None:
            tree.problems.append(Problem(1, 1, "", "the plan is empty"))
        else:
            tree.root = _Builder(tree).value(node, ())
    return tree


def _compose(data: bytes) -> yaml.Node | None:
    if len(data) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES} bytes: that is no plan")
    loader = yaml.SafeLoader(data.decode("utf-8-sig"))
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _form(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text: byte {error.start} cannot be read"
    if isinstance(error, yaml.reader.ReaderError):
        return f"not YAML: a character that may not be there ({error.reason})"
    return str(error) or "not YAML"


class _Builder:
    """Turns nodes into values. Aliases are followed, within bounds."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._nodes = 0
        self._inside: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: Path) -> Value:
        self._tree.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        self._nodes += 1
        refused = self._refused(node, path)
        if refused:
            self._tree.add(path, refused, at_value=True)
            return None
        self._inside.append(node)
        try:
            return self._content(node, path)
        finally:
            self._inside.pop()

    def _refused(self, node: yaml.Node, path: Path) -> str:
        if any(node is outer for outer in self._inside):
            return "an alias that contains itself"
        if self._nodes > _MOST_NODES or len(path) > _MOST_DEPTH:
            return "too large or too deep for a plan"
        if not str(node.tag).startswith("tag:yaml.org,2002:") or "python" in str(node.tag):
            return f"tag {node.tag} is not allowed in a plan"
        return ""

    def _content(self, node: yaml.Node, path: Path) -> Value:
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        is_null = getattr(node, "style", None) is None and node.value in {
            "",
            "~",
            "null",
            "Null",
            "NULL",
        }
        return None if is_null else str(node.value)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Value]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._tree.add(path, "a key must be text", at_value=True)
                continue
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in first:
                self._tree.problems.append(
                    Problem(
                        line,
                        key_node.start_mark.column + 1,
                        dotted((*path, key)),
                        f"the key '{key}' stands on line {first[key]} already",
                    )
                )
                continue
            first[key] = line
            self._tree.keys[*path, key] = (line, key_node.start_mark.column + 1)
            yield key, self.value(value_node, (*path, key))
