"""Evidence is one chain, whoever adds to it at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from drctl.cli.proofs import Proofs
from drctl.report.evidence import chain_faults

FOUND = {
    "plan": {"name": "shop", "sha256": "00"},
    "drill": "far",
    "verdict": "passed",
    "finished_at": "2026-03-01T12:00:00Z",
    "timing": {"machine_seconds": 1.0, "human_seconds": 0.0, "rta_seconds": 1.0},
    "snapshots": [],
}


def test_drills_that_end_at_once_take_a_number_each(tmp_path: Path) -> None:
    plan = SimpleNamespace(name="shop", evidence=SimpleNamespace(directory="proofs", key=None))
    wiring: Any = SimpleNamespace(loaded=SimpleNamespace(plan=plan, base=str(tmp_path)))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Proofs(wiring).add(FOUND, []), range(24)))
    assert sorted(proof.number for proof in made) == list(range(1, 25))
    assert chain_faults(Proofs(wiring).here()[0]) == []
