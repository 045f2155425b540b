"""What the contract tests of the store's tables share: each runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudmesh_actors.store import Store


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all tables, to be copied: to make them takes far longer."""
    path = tmp_path_factory.mktemp("empty") / "store.db"
    Store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, empty_sqlite: Path) -> str:
    """The URL of a store with all tables, empty."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql_store_url")
        return url
    shutil.copy(empty_sqlite, tmp_path / "store.db")
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def new_store(store_url: str) -> Iterator[Store]:
    """The store."""
    store = Store(store_url)
    yield store
    store.close()
