"""The names that the package offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cloudmesh_actors


@pytest.mark.parametrize("name", cloudmesh_actors.__all__)
def test_every_public_name_is_a_module_and_is_told_of(name: str) -> None:
    assert getattr(cloudmesh_actors, name).__name__ == f"cloudmesh_actors.{name}"
    assert f"`{name}`" in str(cloudmesh_actors.__doc__)


def test_the_package_tells_its_version() -> None:
    assert cloudmesh_actors.__version__.count(".") == 2


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'celery'"):
        _ = cloudmesh_actors.celery


def test_importing_the_package_imports_nothing_else() -> None:
    program = "import sys, cloudmesh_actors; print([m for m in sys.modules if m.startswith('cloudmesh_actors.')])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "[]\n"
