"""Evidence is one chain, whoever adds to it at once."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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


@pytest.fixture
def proofs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proofs:
    monkeypatch.setenv("DRCTL_STATE_DIR", str(tmp_path / "state"))
    plan = SimpleNamespace(name="shop", evidence=SimpleNamespace(directory="proofs", key=None))
    wiring: Any = SimpleNamespace(loaded=SimpleNamespace(plan=plan, base=str(tmp_path)))
    return Proofs(wiring)


def test_drills_that_end_at_once_take_a_number_each(proofs: Proofs) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: proofs.add(FOUND, []), range(24)))
    assert sorted(proof.number for proof in made) == list(range(1, 25))
    assert chain_faults(proofs.here()[0]) == []


def test_evidence_is_kept_where_the_directory_itself_cannot_be_locked(proofs: Proofs) -> None:
    """As on a file server: here somebody else holds that lock."""
    os.mkdir(proofs.directory)
    held = os.open(proofs.directory, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        try:
            assert pool.submit(proofs.add, FOUND, []).result(timeout=20).number == 1
        finally:
            os.close(held)
    assert os.listdir(proofs.directory) == [os.path.basename(proofs.path_of(proofs.here()[0][0]))]
