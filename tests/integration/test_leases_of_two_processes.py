"""Two processes contend for leases, on both stores; holders stand still (SIGSTOP) until their leases have expired."""

from __future__ import annotations

from pathlib import Path

import pytest
from lease_contenders import disorder, trial

from cloudmesh_actors.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_store_url"))
    Store(f"sqlite:///{tmp_path}/store.db").close()
    return f"sqlite:///{tmp_path}/store.db"


def test_one_at_a_time_and_the_one_that_stood_still_cannot_act(url: str, tmp_path: Path) -> None:
    tally = trial(url, tmp_path, trials=16, nodes=8, ttl=0.6, seed=1)

    assert tally.is_safe, tally
    assert tally.paused >= 16
    assert tally.races >= 8
    assert tally.commands > 0


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (["n 1 one", "m 1 two", "n 2 two", "n 2 two"], []),
        (["n 2 two", "n 1 one"], ["n 1 one"]),
        (["n 1 one", "n 1 two"], ["n 1 two"]),
    ],
)
def test_the_record_of_the_nodes_tells_what_must_not_be(record: list[str], wrong: list[str]) -> None:
    assert disorder(record) == wrong
