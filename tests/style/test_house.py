"""What keeps the house in order and no linter knows. Each test prints every place that offends."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
LONGEST_FUNCTION_LINES = 60
LONGEST_FILE_LINES = 400

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks or would take in, so that a new file is judged at once."""
    # safe.directory: a checkout may belong to another user than the one who tests it.
    words = ["git", "-c", f"safe.directory={REPO}", "-C", str(REPO), "ls-files", "-z"]
    words += ["--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(words, check=True, capture_output=True).stdout
    found = (REPO / name for name in listing.decode().split("\0") if name)
    return tuple(sorted({path for path in found if path.is_file()}))


def sources(*folders: str) -> list[Path]:
    """The Python files below these folders of the repository, tracked ones only."""
    roots = [REPO / folder for folder in folders]
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and any(path.is_relative_to(root) for root in roots)
    ]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(REPO)}:{line}"


def offences(paths: list[Path], offends: Callable[[ast.AST], str]) -> str:
    """One line for each node of these files for which `offends` has words."""
    return "\n".join(
        f"{place(path, getattr(node, 'lineno', 1))}: {words}"
        for path in paths
        for node in ast.walk(tree(path))
        if (words := offends(node))
    )


def test_there_is_something_to_judge() -> None:
    """A list that is empty by mistake would let every other test here pass."""
    assert REPO / "drctl" / "errors.py" in sources("drctl")
    assert Path(__file__).resolve() in sources("tests")


def test_no_function_is_long() -> None:
    def offends(node: ast.AST) -> str:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return ""
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        return f"{node.name} has {lines} lines" if lines > LONGEST_FUNCTION_LINES else ""

    assert not (found := offences(sources("drctl", "tests", "scripts"), offends)), found


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources("drctl")}
    found = [
        f"{place(path, count)}: {count} lines"
        for path, count in lengths.items()
        if count > LONGEST_FILE_LINES
    ]
    assert not found, "\n".join(found)


def public_names(body: list[ast.stmt]) -> Iterator[Named]:
    """The public classes and functions of a module. What stands inside them is told by them."""
    for node in body:
        if isinstance(node, Named) and not node.name.startswith("_"):
            yield node


def tells_itself(node: Named) -> bool:
    """Whether a docstring would only repeat what stands there.

    So it is for a function of one statement, for an exception with nothing of its own but its exit
    code (its module draws the tree), and for a seam whose methods hold the contract.
    """
    if not isinstance(node, ast.ClassDef):
        return len(node.body) == 1
    if any(ast.unparse(base) == "Protocol" for base in node.bases):
        return any(ast.get_docstring(part) for part in node.body if isinstance(part, Named))
    return all(isinstance(part, ast.Assign) for part in node.body)


def docstring_fault(node: Named | ast.Module) -> str:
    text = ast.get_docstring(node)
    if text is None:
        return "has no docstring"
    first = text.split("\n\n")[0].strip()
    return "" if re.search(r"[.:?!)`]$|^[ +|-]*\+--", first) else "does not begin with a sentence"


def test_every_module_and_public_name_says_what_it_is() -> None:
    found = []
    for path in sources("drctl"):
        module = tree(path)
        if not module.body:
            continue  # an empty __init__.py holds nothing to tell about
        found += (
            [f"{place(path, 1)}: the module {fault}"] if (fault := docstring_fault(module)) else []
        )
        for node in public_names(module.body):
            if not tells_itself(node) and (fault := docstring_fault(node)):
                found.append(f"{place(path, node.lineno)}: {node.name} {fault}")
    assert not found, "\n".join(found)


def is_broad(handler: ast.ExceptHandler) -> bool:
    names = {node.id for node in ast.walk(handler.type or ast.Pass()) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the handler raises, or hands the exception to somebody else."""
    nodes = [node for statement in handler.body for node in ast.walk(statement)]
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Name) and handler.name is not None and node.id == handler.name)
        for node in nodes
    )


def is_empty(handler: ast.ExceptHandler, lines: list[str]) -> bool:
    """Whether it does nothing and does not say why either, in a comment of its own."""
    idle = all(
        isinstance(node, ast.Pass | ast.Continue)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in handler.body
    )
    text = lines[handler.lineno - 1 : handler.end_lineno]
    return idle and not any("# " in line for line in text)


def test_no_exception_is_swallowed() -> None:
    found = []
    for path in sources("drctl", "tests", "scripts"):
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            where = place(path, node.lineno)
            if node.type is None:
                found.append(f"{where}: a bare except")
            elif is_broad(node) and not passes_on(node):
                found.append(f"{where}: catches everything and hands it to nobody")
            elif is_empty(node, lines):
                found.append(f"{where}: does nothing, and no comment says why")
    assert not found, "\n".join(found)


def test_nothing_broad_is_suppressed() -> None:
    def offends(node: ast.AST) -> str:
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("suppress"):
            return ""
        names = {ast.unparse(argument) for argument in node.args}
        return "suppresses everything" if names & {"Exception", "BaseException"} else ""

    assert not (found := offences(sources("drctl", "tests", "scripts"), offends)), found


PRETENCE = re.compile(
    r"(unittest\.mock|mock|pytest_mock|mocker)(\..*)?"
    r"|(.*\.)?(MagicMock|AsyncMock|Mock|importorskip|skip|skipif|skipTest|skipUnless|xfail)"
    r"|monkeypatch\.(setattr|delattr)"
)


def test_tests_use_real_parts_and_all_of_them_run() -> None:
    """No mocks and no skips: wrappers break things, and a server that is missing is a failure."""

    def offends(node: ast.AST) -> str:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute | ast.Name):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        return next((name for name in names if PRETENCE.fullmatch(name)), "")

    assert not (found := offences(sources("tests"), offends)), found


def test_only_the_command_line_and_the_reporters_print() -> None:
    def offends(node: ast.AST) -> str:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "click.echo"}:
            return "prints"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"}:
            return f"knows {ast.unparse(node)}"
        return ""

    speakers = sources("drctl/cli", "drctl/report")
    silent = [path for path in sources("drctl") if path not in speakers]
    assert not (found := offences(silent, offends)), found


# A home directory or a scratch directory that exists on one developer's machine only.
ONE_MACHINE = re.compile(rb"(?<![\w.$}>-])/(home/\w+/|Users/\w+/|work/|tmp/\w/)")
UNFINISHED = re.compile(rb"\b(TO" + rb"DO|FIX" + rb"ME|X" + rb"XX)\b")


def text_matches(pattern: re.Pattern[bytes]) -> str:
    """Every line of every tracked text file where the pattern is found."""
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(content.splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{place(path, number)}: {match.group().decode()}")
    return "\n".join(found)


def test_no_file_names_a_path_of_one_machine() -> None:
    assert not (found := text_matches(ONE_MACHINE)), found


def test_nothing_is_left_for_later() -> None:
    assert not (found := text_matches(UNFINISHED)), found


def test_scripts_parse() -> None:
    """Bash reads a script as it runs it: a slip near the end would be found late."""
    shell = [
        path for path in tracked() if path.read_bytes()[:30].startswith(b"#!/usr/bin/env bash")
    ]
    shell += [path for path in tracked() if path.suffix == ".sh"]
    assert shell
    for path in shell:
        subprocess.run(["bash", "-n", str(path)], check=True)
