"""The plan: YAML with positions -> a validated model, with every mistake told at once."""

import os
import socket
from hashlib import sha256

from msgspec import Struct
from pydantic import ValidationError

from drctl.errors import NoPlan, PlanError
from drctl.plan.checks import check
from drctl.plan.lint import Finding, lint
from drctl.plan.model import Plan
from drctl.plan.problems import tell
from drctl.plan.secrets import path_of
from drctl.plan.tree import Tree, parse

__all__ = ["Finding", "LoadedPlan", "load", "load_text"]


class LoadedPlan(Struct, frozen=True):
    """`digest`: SHA-256 of the file's bytes, comments and all, so that what was run can be shown
    to the letter. `base`: the file's directory, which relative paths start from."""

    plan: Plan
    path: str
    base: str
    digest: str
    findings: tuple[Finding, ...]

    @property
    def host(self) -> str:
        """What this machine is called in snapshots."""
        return self.plan.host or socket.gethostname()

    def credential_path(self) -> str | None:
        """Where the writer credential lies, if it is a file."""
        return path_of(self.plan.keys.credential, self.base)

    def identity_path(self) -> str:
        """Where the identity file is meant to lie. Raises PlanError when nothing says so."""
        reference = self.plan.keys.identity
        if reference is not None:
            path = path_of(reference, self.base)
        else:
            credential = self.credential_path()
            path = credential and os.path.join(os.path.dirname(credential), "identity.key")
        if path is None:
            raise PlanError(
                "the plan does not say where the identity file lies",
                hint="set keys.identity to file:PATH, or give --identity",
            )
        return path


def load(path: str) -> LoadedPlan:
    """Raises PlanError with all mistakes, each as `file:line:column: place: what`; NoPlan."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise NoPlan(
            f"{path}: {error.strerror}",
            hint=f"is the path right? 'drctl --plan {path} init' makes a new plan",
        ) from error
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}", hint="name a plan's file") from error
    return load_text(data, path, os.path.dirname(os.path.abspath(path)))


def load_text(data: bytes, path: str, base: str) -> LoadedPlan:
    """The same for a plan that lies elsewhere; `path` is what mistakes are told of. Raises
    PlanError."""
    tree = parse(data)
    plan = _validate(tree)
    if plan is None or tree.problems:
        problems = tuple(problem.show(path) for problem in sorted(set(tree.problems)))
        count = "one mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise PlanError(f"{path}: {count}", problems=problems)
    findings = lint(plan, tree, base)
    return LoadedPlan(plan, path, base, sha256(data).hexdigest(), findings)


def _validate(tree: Tree) -> Plan | None:
    if tree.root is None:
        return None
    check(tree)
    try:
        return Plan.model_validate(tree.root)
    except ValidationError as error:
        tell(error, tree, Plan, tree.refused)
        return None
