"""What the plan's language has and this version does not serve yet. Such a key is refused, never
ignored: a plan must not promise what nobody does. Serving one is deleting its line."""

from drctl.plan.tree import Path, Tree

NOT_YET: dict[Path, str] = {
    ("notify",): "notifications are",
    ("metrics",): "metrics are",
}


def refuse(tree: Tree) -> list[Path]:
    """Tell every such key. Gives their paths."""
    found = [path for path in tree.keys if path in NOT_YET]
    for path in found:
        what = NOT_YET[path]
        tree.add(path, f"{what} not in this version of drctl yet: remove '{path[-1]}'")
    return found
