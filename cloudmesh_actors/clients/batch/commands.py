"""The commands of each kind of batch server, how the kind is found out, and what a command's end means.

Sources: qstat(1B) and pbsnodes(8B) of Torque 6 and OpenPBS 23, and Slurm's wrapper of the same names. The programs
themselves turn times into text, in the time zone of their environment: they are run in UTC.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmesh_actors.errors import AuthenticationFailed, NodeError, ProtocolError, Unreachable, Unsupported

#: Where PBS is installed on hosts whose PATH for commands over SSH lacks it.
MORE_PLACES = "/opt/pbs/bin:/opt/pbspro/default/bin:/opt/torque/bin:/usr/local/torque/bin:/opt/slurm/bin:/usr/local/bin"

#: What every command runs in: English complaints, times in UTC.
ENVIRONMENT = ("env", "LC_ALL=C", "TZ=UTC0")

#: Prints where the programs are, and what qstat says of its version, for sh(1).
PROBE = f"""PATH="$PATH":{MORE_PLACES}; export PATH
for name in qstat pbsnodes; do
    place=$(command -v $name) || {{ echo "$name: not found" >&2; exit 127; }}
    echo "$name=$place"
done
qstat --version 2>&1 </dev/null | head -c 2000"""

_PLACE = re.compile(r"^(qstat|pbsnodes)=(/.*)$", re.MULTILINE)

#: Words of `qstat --version`. Slurm's wrapper does not know the option; Getopt::Long(3perl) says so.
_KINDS = (
    ("openpbs", re.compile(r"pbs_version|PBSPro|OpenPBS", re.IGNORECASE)),
    ("slurm", re.compile(r"Unknown option: version")),
    ("torque", re.compile(r"^\W*version: *\d|^Commit: ", re.IGNORECASE | re.MULTILINE)),
)

#: Slurm's wrapper and Torque end so when they have found no job; without a complaint it means that there is none.
NO_JOBS = 153

#: What shells and env(1) end with when there is no such program, or it is none.
NOT_FOUND = (126, 127)

_USAGE = re.compile(r"usage:|(?:invalid|illegal|unknown|unrecognized) option", re.IGNORECASE)
_TOTAL = re.compile(rb"total_jobs(?: = |>|\":\s*)([0-9]+)")

#: Complaints of the programs about their server.
_AWAY = re.compile(
    r"cannot connect to|connection refused|connection timed out|no route to host|communication failure"
    r"|cannot contact|unable to contact|problem loading|could not establish a configuration|end of file",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"unauthorized|not authorized|permission denied|access denied|no permission|munge|invalid credential|not permitted",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way to ask: the arguments of `qstat` for jobs and for queues, and of `pbsnodes`."""

    name: str
    jobs: tuple[str, ...]
    queues: tuple[str, ...]
    nodes: tuple[str, ...]


XML = Dialect("torque-xml", ("-x", "-t"), ("-Q", "-f"), ("-x",))
OLD_XML = Dialect("torque-xml", ("-x",), ("-Q", "-f"), ("-x",))
TORQUE = Dialect("torque-text", ("-f",), ("-Q", "-f"), ("-a",))
JSON = Dialect("openpbs-json", ("-f", "-F", "json", "-t"), ("-Q", "-f", "-F", "json"), ("-av", "-F", "json"))
OPENPBS = Dialect("openpbs-text", ("-f", "-t"), ("-Q", "-f"), ("-av",))
SLURM = Dialect("slurm", ("-f",), ("-Q", "-f"), ("-a",))
UNKNOWN = Dialect("unknown", ("-f",), ("-Q", "-f"), ("-a",))

#: The ways to ask each kind of server, the best first; older ones do not know all options.
WAYS: dict[str, tuple[Dialect, ...]] = {
    "torque": (XML, OLD_XML, TORQUE),
    "openpbs": (JSON, OPENPBS),
    "slurm": (SLURM,),
    "unknown": (UNKNOWN,),
}


@dataclass(frozen=True, slots=True)
class Programs:
    """Where a login host has the two programs, and of which kind they are: a key of WAYS."""

    qstat: str
    pbsnodes: str
    kind: str

    def commands(self, dialect: Dialect) -> tuple[list[str], list[str], list[str]]:
        """The three commands for jobs, queues and nodes, as lists of words."""
        return (
            [*ENVIRONMENT, self.qstat, *dialect.jobs],
            [*ENVIRONMENT, self.qstat, *dialect.queues],
            [*ENVIRONMENT, self.pbsnodes, *dialect.nodes],
        )


def probe() -> list[str]:
    """The command that finds the programs."""
    return [*ENVIRONMENT, "sh", "-c", PROBE]


def recognise(output: str) -> Programs | None:
    """The programs, from what the probe printed; a greeting before it is skipped. None when it names none."""
    places = dict(_PLACE.findall(output))
    if not {"qstat", "pbsnodes"} <= places.keys():
        return None
    last = list(_PLACE.finditer(output))[-1]
    version = output[last.end() :]
    kind = next((kind for kind, words in _KINDS if words.search(version)), "unknown")
    return Programs(places["qstat"], places["pbsnodes"], kind)


def is_usage(stdout: bytes, stderr: str) -> bool:
    """Whether a program complained about its options, as one does that is older than they are."""
    return not stdout.strip() and bool(_USAGE.search(stderr))


def is_whole(exit_status: int, stdout: bytes, stderr: str) -> bool:
    """Whether a listing came: also when a batch job went while it was printed."""
    return exit_status == 0 or (exit_status == NO_JOBS and "Unknown Job" in stderr and bool(stdout.strip()))


def has_no_jobs(exit_status: int, stdout: bytes, stderr: str) -> bool:
    """Whether nothing was printed because there are no batch jobs, as Slurm's wrapper and Torque tell it."""
    return exit_status == NO_JOBS and not stdout.strip() and not stderr.strip()


def all_queues_are_empty(queues: bytes) -> bool:
    """Whether a listing of queues counts no job in any."""
    totals = _TOTAL.findall(queues)
    return bool(totals) and not any(int(total) for total in totals)


def failure(host: str, command: Sequence[str], exit_status: int, stderr: str) -> NodeError:
    """The error for a command that ended badly, with what the program said."""
    said = " / ".join(line.strip() for line in stderr.splitlines() if line.strip())[:300]
    shown = shlex.join(command[len(ENVIRONMENT) :])
    if exit_status in NOT_FOUND:
        return Unsupported(
            f"{host}: {said or f'{shown!r} cannot be run'}; name a host in the site file "
            "where qstat and pbsnodes are installed, and in the PATH of commands over SSH."
        )
    told = f"{shown!r} failed with status {exit_status} ({said or 'no reason given'})"
    if _DENIED.search(said):
        return AuthenticationFailed(f"{host}: {told}: the batch server does not let this user look.")
    if _AWAY.search(said):
        return Unreachable(f"{host}: {told}: its batch server is away; the login host answers.")
    return ProtocolError(f"{host}: {told}.")
