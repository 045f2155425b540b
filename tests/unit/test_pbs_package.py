"""What `from cloudmesh_actors import pbs` gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cloudmesh_actors import pbs
from cloudmesh_actors.actor import FamilyActor


@pytest.mark.parametrize("name", ["refresh", "qinfo", "qstat", "pbsnodes"])
def test_every_actor_is_an_attribute_of_the_family(name: str) -> None:
    found = getattr(pbs, name)

    assert isinstance(found, FamilyActor)
    assert found.actor_name == f"pbs.{name}"


@pytest.mark.parametrize("first", ["parse_jobs", "pbs"])
def test_qstat_is_the_actor_and_its_module_holds_the_parsers_in_whatever_order_they_are_imported(first: str) -> None:
    imports = ["from cloudmesh_actors import pbs; pbs.qstat.send", "from cloudmesh_actors.pbs.qstat import parse_jobs"]
    program = "; ".join(sorted(imports, key=lambda line: first not in line))
    program += "; print(pbs.qstat.actor_name, parse_jobs.__module__)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["pbs.qstat", "cloudmesh_actors.pbs.qstat"]


def test_what_it_has_not_is_said_so() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pbs.nonsense
