"""Attributes of batch jobs are stored as they were printed, and read from the store as from the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson
import pbs_printers
import pytest

from cloudmesh_actors.pbs import packs
from cloudmesh_actors.pbs.qstat import parse_jobs

Listing = Sequence[tuple[str, Mapping[str, str]]]

#: More jobs than fit into a pack, and one whose environment is long, with what each dialect has to escape.
JOBS = [
    (
        f"{number}.torque1",
        {
            "Job_Name": f"run{number}",
            "Job_Owner": "alice@login1",
            "job_state": "Q",
            "queue": "batch",
            "Resource_List.walltime": "01:00:00",
            "Variable_List": f"HOME=/home/alice,NAME=M\u00fcller & Co,NUMBER={number},LONG={'x' * 200}",
        },
    )
    for number in range(packs.SIZE + 3)
]


@pytest.mark.parametrize("show", [pbs_printers.text, pbs_printers.xml, pbs_printers.json, pbs_printers.slurm])
def test_what_is_read_from_packs_is_what_the_parser_reads(show: Callable[[Listing], str]) -> None:
    jobs = parse_jobs(show(JOBS).encode())
    packed = list(packs.packs(job.attributes for job in jobs))
    found = [packs.readable(each) for pack in packed for each in packs.unpack(pack)]

    assert len(packed) == 2
    assert found == [dict(job.attributes) for job in parse_jobs(show(JOBS).encode())]
    assert {each["Resource_List.walltime"] for each in found} == {"01:00:00"}


def test_jobs_are_packed_without_being_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = parse_jobs(pbs_printers.xml(JOBS).encode())
    monkeypatch.setattr(packs.Attributes, "plain", lambda _: pytest.fail("it was taken apart"))

    assert list(packs.packs(job.attributes for job in jobs))


def test_records_of_other_printers_and_known_ones_share_a_pack() -> None:
    reformatted = pbs_printers.xml(JOBS[:1]).replace("<Job_Name>", '<Job_Name kind="x">')
    printed = parse_jobs(pbs_printers.xml(JOBS[1:3]).encode())
    mixed = [
        printed[0].attributes,
        {"Job_Name": "by hand"},
        parse_jobs(reformatted)[0].attributes,
        printed[1].attributes,
    ]

    [packed] = packs.packs(mixed)

    names = [packs.readable(each)["Job_Name"] for each in packs.unpack(packed)]
    assert names == ["run1", "by hand", "run0", "run2"]


def test_half_a_surrogate_pair_does_not_come_out_of_a_pack() -> None:
    [packed] = packs.packs([{"Job_Name": "a\ud800b"}])

    [found] = packs.unpack(packed)

    assert orjson.dumps(packs.readable(found))
