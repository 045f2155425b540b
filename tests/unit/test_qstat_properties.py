"""What holds of every listing: it is read back as it was printed, and nothing but a QstatError comes out of rubbish."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pbs_printers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudmesh_actors.pbs.model import JobState
from cloudmesh_actors.pbs.qstat import QstatError, parse_jobs, parse_nodes, parse_queues

DATA = Path(__file__).parents[1] / "data" / "pbs"
SAMPLES = sorted(path for path in DATA.glob("real-*"))
PARSERS = (parse_jobs, parse_queues, parse_nodes)
PRINTERS = {
    "text": pbs_printers.text,
    "text, not wrapped": lambda listing: pbs_printers.text(listing, width=None),
    "slurm": pbs_printers.slurm,
    "xml": pbs_printers.xml,
    "old xml": lambda listing: pbs_printers.xml(listing, escaped=False),
    "json": pbs_printers.json,
    "old json": lambda listing: pbs_printers.json(listing, old=True),
}
#: Letters, what the dialects use for themselves, and what is more than one byte. Without `&`: old Torque prints it as
#: it is, so that in its listings an entity cannot be told from the same characters.
ALPHABET = "abcXYZ0189 .:=-_/\\\"'<>(){}[]|$@%+*!?~#^`é日😀"
HOSTS = [
    f"{prefix}{number}{suffix}" for prefix in ("i", "d0", "n-") for number in range(9) for suffix in ("", ".x.org")
]
few = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
many = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)

words = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="&;,"), max_size=90)
texts = st.lists(words, max_size=6).map(" ".join)
variables = st.dictionaries(
    st.from_regex(r"[A-Z_]{1,12}", fullmatch=True), texts.map(lambda text: text.replace(",", ""))
)
hosts = st.lists(
    st.tuples(st.from_regex(r"[a-z]{1,6}-?[0-9]{1,4}(\.example\.org)?", fullmatch=True), st.integers(1, 64)),
    min_size=1,
    max_size=40,
    unique_by=lambda held: held[0],
)
durations = st.integers(0, 10**7)
moments = st.integers(1, 4_000_000_000)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, object]:
    return {
        "name": draw(words.filter(lambda name: name.strip() == name != "")),
        "owner": draw(st.sampled_from(["alice", "bob_2", "c"])),
        "state": draw(st.sampled_from(list(JobState))),
        "queue": draw(st.sampled_from(["batch", "delta-long", "b534"])),
        "nodes": draw(st.one_of(st.just([]), hosts)),
        "walltime_requested": draw(durations),
        "memory": draw(st.integers(0, 10**9)) * 1024,
        "submitted": draw(moments),
        "variables": draw(variables),
        "comment": draw(texts),
    }


def clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def printable(job: dict[str, object], dialect: str) -> dict[str, str]:
    """A job's attributes as a server prints them."""
    epoch = datetime.fromtimestamp(job["submitted"], UTC)  # type: ignore[arg-type]
    variables = ",".join(f"{name}={value}" for name, value in job["variables"].items())  # type: ignore[attr-defined]
    attributes = {
        "Job_Name": job["name"],
        "Job_Owner": f"{job['owner']}@login.example.org",
        "job_state": job["state"].value,  # type: ignore[attr-defined]
        "queue": job["queue"],
        "qtime": str(job["submitted"]) if "xml" in dialect else epoch.strftime("%a %b %e %H:%M:%S %Y"),
        "exec_host": exec_host(job["nodes"], dialect),  # type: ignore[arg-type]
        "Resource_List.mem": f"{job['memory'] // 1024}kb",  # type: ignore[operator]
        "Resource_List.walltime": clock(job["walltime_requested"]),  # type: ignore[arg-type]
        "Variable_List": variables,
        "comment": job["comment"],
    }
    return {name: str(value) for name, value in attributes.items() if value != "" or name == "comment"}


def exec_host(held: list[tuple[str, int]], dialect: str) -> str:
    if dialect == "slurm":
        return "+".join(f"{host}/{slots}" for host, slots in held)
    if "json" in dialect:
        return "+".join(f"{host}/0*{slots}" for host, slots in held)
    if "old" in dialect:
        return "+".join(f"{host}/{slot}" for host, slots in held for slot in range(slots))
    return "+".join(f"{host}/0-{slots - 1}" if slots > 1 else f"{host}/7" for host, slots in held)


@pytest.mark.parametrize("dialect", PRINTERS)
@few
@given(printed=st.lists(jobs(), min_size=1, max_size=3))
def test_jobs_are_read_back_as_they_were_printed(dialect: str, printed: list[dict[str, object]]) -> None:
    listing = [(f"{number}.i136", printable(job, dialect)) for number, job in enumerate(printed)]

    read = parse_jobs(PRINTERS[dialect](listing))

    assert not read.damaged
    assert [job.id for job in read] == [name for name, _ in listing]
    for job, expected, (_, attributes) in zip(read, printed, listing, strict=True):
        for field in ("name", "owner", "state", "queue", "nodes", "walltime_requested", "memory", "submitted"):
            assert getattr(job, field) == expected[field]
        assert job.attributes == attributes
        assert job.cpus == (sum(slots for _, slots in expected["nodes"]) or None)  # type: ignore[attr-defined]


@st.composite
def rubbish(draw: st.DrawFn) -> bytes:
    """A real output, cut, spliced and sprinkled with bytes."""
    path = draw(st.sampled_from(SAMPLES))
    whole = path.read_bytes()
    places = st.integers(0, len(whole))
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted((draw(places), draw(places)))
        middle = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=20),
                st.sampled_from(
                    [b"\n\n", b"\n", b"</Job>", b"<Job>", b"}", b"{", b'"', b"\\", b",", b"Job Id: 9\n", b"\r\n"]
                ),
            )
        )
        whole = whole[:begin] + middle + (whole[end:] if draw(st.booleans()) else whole[begin:])
    return whole


@many
@given(data=rubbish(), parse=st.sampled_from(PARSERS))
def test_from_damaged_listings_come_records_or_a_qstat_error(data: bytes, parse: object) -> None:
    check_answer(data, parse)


@many
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200)), parse=st.sampled_from(PARSERS))
def test_from_anything_come_records_or_a_qstat_error(data: bytes | str, parse: object) -> None:
    check_answer(data, parse)


def check_answer(data: bytes | str, parse: object) -> None:
    try:
        records = parse(data)  # type: ignore[operator]
    except QstatError as error:
        assert error.line is None or error.line >= 1
        return
    for damaged in records.damaged:
        assert damaged.line >= 1
        assert damaged.reason
    for record in records:
        assert all(isinstance(text, str) for item in record.attributes.items() for text in item)
        assert record.attributes.plain() == dict(record.attributes)


@pytest.mark.parametrize("path", [path for path in SAMPLES if "qstat-f" in path.name or "qstat-x.xml" in path.name])
@few
@given(data=st.data())
def test_a_damaged_record_never_costs_another(path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    everything = parse_jobs(whole)
    begins = [match.start() for match in re.finditer(rb"Job Id:|<Job>|\"[^\"]*\":\s*\{\s*\"Job_Name", whole)]
    victim = data.draw(st.integers(1, len(everything) - 2))
    at = data.draw(st.integers(begins[victim] + 60, begins[victim + 1] - 60))

    read = parse_jobs(whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 5 :])

    ids = [job.id for job in read]
    assert ids in ([job.id for job in everything], [job.id for job in everything if job is not everything[victim]])
    assert len(ids) == len(everything) or read.damaged


@pytest.mark.parametrize(
    "unit", ['"', '\\"', "9", ":", "\n", "\n\t", "\n    x = [a=1]", "<a>", "&#", "+", "{", "[", '",', "\n\nqstat: "]
)
@pytest.mark.parametrize("attribute", ["exec_host", "Variable_List"])
def test_a_huge_value_takes_no_longer_than_it_is_long(unit: str, attribute: str) -> None:
    plain = {"Job_Name": "a", "job_state": "Q", "queue": "batch"}
    listing = [("1.i136", plain), ("2.i136", {**plain, attribute: unit * (50_000 // len(unit))}), ("3.i136", plain)]
    printed = [printer(listing) for name, printer in PRINTERS.items() if name != "text"]
    printed.append(pbs_printers.json(listing, old=True).replace("\\", ""))

    began = time.process_time()
    for data in printed:
        check_answer(data, parse_jobs)

    assert time.process_time() - began < 20


def test_the_fuzz_target_runs_by_itself() -> None:
    target = Path(__file__).parents[1] / "fuzz" / "fuzz_qstat.py"

    done = subprocess.run([sys.executable, target, "--seconds", "1", "--seed", "136"], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seed 136: ")
