"""YAML as a tree of mappings, lists and text, each with where it stands in the file.

Scalars stay the text that the person wrote, so `no`, `010` and `12:30` are never turned into
something else; what a value must be is the model's business. Keys without a value, tags, merge
keys, duplicate keys, several documents and explosive aliases are refused.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct, field

from drctl.units import show_line

Path = tuple[str | int, ...]
Value = str | None | list[Any] | dict[str, Any]

_MOST_BYTES = 1 << 20
_MOST_NODES = 50_000
_MOST_DEPTH = 24
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
# What YAML itself gives to plain text, lists and mappings. Any other was written by somebody.
_OWN = ("str", "bool", "int", "float", "timestamp", "null", "merge", "value", "map", "seq")
_OWN_TAGS = frozenset(_TAG + kind for kind in _OWN)
_NOWHERE = re.compile("[\0\ud800-\udfff]")  # in no path, no argument, no name


class Problem(Struct, frozen=True, order=True):
    """One mistake. Lines and columns count from 1."""

    line: int
    column: int
    where: str  # dotted path, empty for the file as a whole
    what: str

    def show(self, file: str) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{file}:{self.line}:{self.column}: " + show_line(f"{where}{self.what}")


class Tree(Struct):
    """`keys` and `values`: path -> (line, column) of a mapping's key, of a value. `refused`: where
    a value stands that was not taken; None stands in its place."""

    root: Value = None
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)

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
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        line, column = _place(error, data)
        tree.problems.append(Problem(line, column, "", _form(error)))
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


def _place(error: Exception, data: bytes) -> tuple[int, int]:
    """Line and column of what does not read."""
    before = ""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start].decode("utf-8-sig", "replace")
    elif isinstance(error, yaml.reader.ReaderError):
        before = data.decode("utf-8-sig")[: error.position]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _form(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return "not YAML: " + ", ".join(part for part in (error.context, error.problem) if part)
    if isinstance(error, RecursionError):
        return "nested too deeply"
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
        self._tree.values[path] = _start(node)
        self._nodes += 1
        refused = self._refused(node, path)
        if refused is not None:
            self._tree.refused.append(path)
            if refused:
                self._tree.add(path, refused, at_value=True)
            return None
        self._inside.append(node)
        try:
            return self._content(node, path)
        finally:
            self._inside.pop()

    def _refused(self, node: yaml.Node, path: Path) -> str | None:
        """None: it is taken. Empty: it is not, and that was told already."""
        if any(node is outer for outer in self._inside):
            return "an alias that contains itself"
        if self._nodes > _MOST_NODES:
            return "too large for a plan" if self._nodes == _MOST_NODES + 1 else ""
        if len(path) > _MOST_DEPTH:
            return "too deep for a plan"
        if node.tag not in _OWN_TAGS:
            return f"tag {node.tag} is not allowed in a plan"
        return _text_refused(node) if isinstance(node, yaml.ScalarNode) else None

    def _content(self, node: yaml.Node, path: Path) -> Value:
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return str(node.value)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Value]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line, column = _start(key_node)
            refused = _key_refused(key_node, first)
            if refused:
                twice = isinstance(key_node, yaml.ScalarNode) and key_node.value in first
                where = dotted((*path, key_node.value) if twice else path)
                self._tree.problems.append(Problem(line, column, where, refused))
                continue
            key = str(key_node.value)
            first[key] = line
            self._tree.keys[*path, key] = (line, column)
            yield key, self.value(value_node, (*path, key))


def _start(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _text_refused(node: yaml.ScalarNode) -> str | None:
    if node.style is None and node.value in _NULLS:
        return "a value is missing here"
    return "a character that may not be there" if _NOWHERE.search(node.value) else None


def _key_refused(node: yaml.Node, first: dict[str, int]) -> str:
    """Why it cannot be a key; empty: it can. `first`: earlier keys and their lines."""
    if not isinstance(node, yaml.ScalarNode):
        return "a key must be text"
    if node.tag == _MERGE:
        return "merge keys are not allowed in a plan: write out what '<<' would bring"
    if node.tag not in _OWN_TAGS:
        return f"tag {node.tag} is not allowed in a plan"
    if _NOWHERE.search(node.value):
        return "a character that may not be there"
    known = first.get(node.value)
    return f"the key '{node.value}' stands on line {known} already" if known else ""
