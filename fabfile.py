"""The fleet from afar: ``fab queue.start``, ``queue.stop``, ``queue.clean``, ``queue.status``, here or on other hosts.

::

    fab queue.start                                                here
    fab -H head1,head2 queue.start --directory /opt/cloudmesh      there, one host after the other

Each runs the make target of the same meaning in a checkout of the project. On a host given with -H, logs and pid files
are in LOG_DIR/HOST, because hosts of a cluster often share a file system. Host keys are checked against known_hosts:
an unknown or a changed key is refused. The first host that fails ends the command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from fabric import Connection, task
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from paramiko import RejectPolicy
from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

HERE = Path(__file__).parent

#: Where known host keys are looked for, besides UserKnownHostsFile of ~/.ssh/config.
KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")

HELP = {
    "directory": "the checkout to work in; the one with this fabfile if none is given",
    "log-dir": "the directory of logs and pid files, relative to the checkout",
    "setting": "a variable of the Makefile, as in --setting SITE=/etc/cloudmesh/site.yml; may be repeated",
}


#: task: the make target that it runs, and its help
TASKS = {
    "start": ("workers-up", "Start what is down, and wait until every worker is ready."),
    "stop": ("workers-down", "Stop all workers; running tasks may finish within the grace time."),
    "clean": ("workers-clean", "Stop all workers and delete their logs and pid files."),
    "status": ("workers-status", "Show every worker."),
}


def queue_task(target: str, meaning: str) -> Any:
    """A task of fab that runs a make target."""

    def body(c: Context, setting: list[str], directory: str = "", log_dir: str = "") -> None:
        make(c, target, setting, directory, log_dir)

    body.__doc__ = meaning
    return task(body, help=HELP, iterable=["setting"])


ns = Collection(queue=Collection(**{name: queue_task(*what) for name, what in TASKS.items()}))


def make(c: Context, target: str, setting: list[str], directory: str, log_dir: str) -> None:
    """Run a make target here, or on the host that `c` is connected to. Ends fab with the target's exit code."""
    host: str | None = c.host if isinstance(c, Connection) else None
    command = make_command(target, variables(setting, log_dir, host), directory)
    ended: Any = run_there(c, command) if host else c.run(command, warn=True, in_stream=False)
    if ended.exited != 0:
        raise Exit(f"{host or 'here'}: make {target} failed", code=ended.exited if ended.exited > 0 else 1)


def make_command(target: str, variables: Mapping[str, str], directory: str) -> str:
    """The shell's command line: ``make -C DIRECTORY TARGET NAME=VALUE...``."""
    words = ["make", "--no-print-directory", "-C", directory or str(HERE), target]
    given = [f"{name}={value.replace('$', '$$')}" for name, value in variables.items()]
    return " ".join(map(quote, words + given))


def variables(settings: list[str], log_dir: str, host: str | None) -> dict[str, str]:
    """The Makefile's variables for one host; without one, only what was given. Ends fab when a setting is wrong."""
    given = dict(checked(setting) for setting in settings)
    folder = log_dir or given.get("LOG_DIR", "")
    if host is not None:
        folder = f"{folder or 'logs'}/{host}"
    return {**given, "LOG_DIR": folder} if folder else given


def checked(setting: str) -> tuple[str, str]:
    """``NAME=VALUE`` as a pair. Ends fab for another form, and for a password, which command lines show to all."""
    name, equals, value = setting.partition("=")
    if not equals or not re.fullmatch(r"[A-Z][A-Z_]*", name):
        raise Exit(f"{name!r} is not of the form NAME=VALUE")
    if re.match(r"[a-z+]+://[^/@]*:[^/@]+@", value):
        file = f"{name.removesuffix('_URL')}_PASSWORD_FILE"
        raise Exit(f"{name} holds a password, and everybody can read command lines; put it in a file, and set {file}")
    return name, value


def check_host_keys(connection: Connection) -> None:
    """Refuse hosts whose keys are not known: Fabric accepts any, and reads no known_hosts, unless it is told to."""
    for hop in hops(connection):
        hop.client.set_missing_host_key_policy(RejectPolicy())
        for file in known_hosts(hop.ssh_config):
            hop.client.load_system_host_keys(str(file))


def hops(connection: Connection) -> Iterator[Connection]:
    """The connection, and the gateways before it."""
    while isinstance(connection, Connection):
        yield connection
        connection = connection.gateway


def known_hosts(ssh_config: Mapping[str, str]) -> list[Path]:
    """The files with known host keys that are there."""
    names = [*ssh_config.get("userknownhostsfile", "").split(), *KNOWN_HOSTS]
    return [path for path in (Path(name).expanduser() for name in names) if path.is_file()]


def run_there(connection: Connection, command: str) -> Any:
    """Run a command on another host; its output is shown. Ends fab with one sentence when there is no connection."""
    check_host_keys(connection)
    try:
        return connection.run(command, warn=True, in_stream=False)
    except (SSHException, OSError) as error:
        raise Exit(f"{connection.host}: {refusal(error)}") from None


def refusal(error: Exception) -> str:
    """What went wrong between us and a host, in a sentence."""
    if isinstance(error, BadHostKeyException):
        return "its host key has CHANGED; somebody may be listening in. If you know why, mend known_hosts"
    if isinstance(error, AuthenticationException):
        return f"it does not accept this user or key ({error})"
    if isinstance(error, SSHException) and "known_hosts" in str(error):
        return "its host key is not in known_hosts; connect once with ssh, and compare the key's fingerprint"
    return f"no connection ({error})"
