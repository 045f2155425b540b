"""Feeds the parsers of qstat what no server would print, until they break or the time is up.

``python tests/fuzz/fuzz_qstat.py [--seconds 60] [--seed N] [--keep FOLDER] [FILE…]``

Without files it mutates the real outputs in tests/data/pbs; with files it checks just these. The parsers may give back
records or raise QstatError, within two seconds; whatever else happens is a bug, and the input is kept in FOLDER.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cloudmesh_actors.pbs.qstat import QstatError, parse_jobs, parse_nodes, parse_queues

PARSERS = (parse_jobs, parse_queues, parse_nodes)
SAMPLES = Path(__file__).parents[1] / "data" / "pbs"
DEADLINE_SECONDS = 2.0

#: Bytes that mean something to one dialect or another.
TOKENS = (
    *(
        b"\n\n",
        b"\n",
        b"\r\n",
        b"\n\t",
        b"\n    ",
        b"\t",
        b" = ",
        b"=",
        b"Job Id: 1.i136\n",
        b"Job Id:\t",
        b"Queue: a\n",
        b"qstat: ",
    ),
    *(
        b"<Job>",
        b"</Job>",
        b"<Data>",
        b"</Data>",
        b"<",
        b">",
        b"&",
        b"&#0;",
        b"&amp;",
        b"\x0e",
        b"<![CDATA[",
        b"-->",
        b"<?xml",
    ),
    *(
        b"{",
        b"}",
        b'"',
        b'":',
        b"\\",
        b",",
        b"[",
        b"]",
        b"nan",
        b"007",
        b"\\u",
        b"\\ud800",
        b'"Jobs": {',
        b'"Job_Name"',
        b"null",
    ),
    *(
        b"\x00",
        b"\xff",
        b"\xc3\xa9",
        b"\xe9",
        b"\xf0\x9f\x98\x80",
        b"9" * 5000,
        b"+",
        b"/0*",
        b"-",
        b"(",
        b":",
        b"*",
        b"i1/0-9,",
    ),
)


def check(data: bytes) -> str:
    """What came of some bytes: "none" of the parsers took them for a listing, or "read". Anything else is raised."""
    outcome = "none"
    for parse in PARSERS:
        began = time.process_time()
        try:
            records = parse(data)
        except QstatError:
            continue
        for record in records:
            for name, value in record.attributes.plain().items():  # type: ignore[attr-defined]
                if not isinstance(name, str) or not isinstance(value, str):
                    raise TypeError(f"{name!r} is {value!r}")
        if any(damaged.line < 1 or not damaged.reason for damaged in records.damaged):
            raise ValueError("a damaged record has no line or no reason")
        if time.process_time() - began > DEADLINE_SECONDS:
            raise TimeoutError(f"{parse.__name__} took {time.process_time() - began:.1f} s")
        outcome = "read"
    return outcome


def mutated(rng: random.Random, samples: list[bytes]) -> bytes:
    """A sample after a few accidents."""
    data = rng.choice(samples)
    for _ in range(rng.randint(1, 6)):
        data = rng.choice(ACCIDENTS)(rng, data, samples)
    return data


def _cut(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _remove(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    begin = rng.randint(0, len(data))
    return data[:begin] + data[begin + rng.choice((1, 5, 50, 500)) :]


def _insert(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    begin = rng.randint(0, len(data))
    return data[:begin] + rng.choice(TOKENS) * rng.choice((1, 1, 1, 40)) + data[begin:]


def _replace(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    old = rng.choice(TOKENS)
    return data.replace(old, rng.choice(TOKENS), rng.choice((1, 3, -1)))[:400_000]


def _flip(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    flipped = bytearray(data)
    for _number in range(rng.choice((1, 5, 100))):
        if flipped:
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _splice(rng: random.Random, data: bytes, samples: list[bytes]) -> bytes:
    other = rng.choice(samples)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _repeat(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    begin, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    return (data[:end] + data[begin:])[:400_000]


ACCIDENTS: list[Callable[[random.Random, bytes, list[bytes]], bytes]] = [
    _cut, _remove, _remove, _insert, _insert, _insert, _replace, _flip, _splice, _repeat
]  # fmt: skip


def fuzz(seconds: float, seed: int, keep: Path) -> int:
    """How many inputs broke a parser."""
    rng = random.Random(seed)
    samples = [path.read_bytes() for path in sorted(SAMPLES.glob("real-*"))]
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutated(rng, samples)
        try:
            outcomes[check(data)] += 1
        except Exception:
            outcomes["broken"] += 1
            keep.mkdir(parents=True, exist_ok=True)
            path = keep / f"qstat-{seed}-{outcomes['broken']}"
            path.write_bytes(data)
            print(f"{path}:\n{traceback.format_exc()}", file=sys.stderr)
    print(f"seed {seed}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    return outcomes["broken"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    for path in options.files:
        print(f"{path}: {check(path.read_bytes())}")
    return 0 if options.files else min(fuzz(options.seconds, options.seed, options.keep), 1)


if __name__ == "__main__":
    sys.exit(main())
