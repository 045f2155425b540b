"""From the settings to what supervisord needs: its configuration file and the environment of the fleet."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path
from string import Template

from cloudmesh_actors.errors import SettingsError
from cloudmesh_actors.settings import PREFIX, Settings, variable

TEMPLATE = Path(__file__).with_name("supervisord.conf")

#: How long a worker may take after its grace time to hand back what it still has, in seconds.
HAND_BACK_S = 20

#: Bytes in the path of a unix socket (sun_path of unix(7), without its final zero).
SOCKET_PATH_BYTES = 107

#: supervisord first binds its socket with ".PID" appended; process ids have up to seven digits.
SOCKET_SUFFIX_BYTES = 8

#: The console's process, which is started when it is asked for.
WEB = "web"

#: The variable by which a supervisord is told whether to start the console with the rest. It is no part of the
#: configuration, because a process whose configuration changes is restarted.
WITH_WEB = "CM_WITH_WEB"

#: Settings of the console.
WEB_SETTINGS = ("web_host", "web_port", "web_token_file", "web_allowed_hosts", "web_read_only")

#: Settings that concern single processes, so that a change restarts those only.
PER_WORKER = frozenset(map(variable, ("workers", "threads", *WEB_SETTINGS)))


def render(settings: Settings, *, python: str = sys.executable, umask: int = 0o022) -> str:
    """The text of supervisord's configuration file for the settings' fleet.

    Raises:
        SettingsError: a path cannot be written in such a file.
    """
    common = {
        "python": _literal(shlex.quote(python)),
        "runtime_dir": _literal(str(settings.runtime_dir)),
        "state_dir": _literal(str(settings.state_dir)),
        "log_dir": _literal(str(settings.log_dir)),
        "umask": f"{umask:03o}",
        "stop_wait_s": str(ceil(settings.grace) + HAND_BACK_S),
    }
    head, valkey, program = _sections(TEMPLATE.read_text())
    programs = [
        Template(program).substitute(
            common, name=name, environment=_environment_of(settings, name, family), autostart=_autostart(name)
        )
        for name, family in [*processes(settings), (WEB, "")]
    ]
    fixed = head if settings.broker_url else head + valkey
    return Template(fixed).substitute(common) + "".join(programs)


def processes(settings: Settings) -> list[tuple[str, str]]:
    """The fleet's own processes, broker and console apart: (name, family); beat has no family."""
    return [*((spec.name, spec.family) for spec in settings.worker_plan), ("beat", "")]


def environment(
    settings: Settings, environ: Mapping[str, str] = os.environ, *, with_web: bool = False
) -> dict[str, str]:
    """The environment of the fleet: the caller's, with the settings' paths made absolute.

    Args:
        with_web: whether a supervisord of this environment starts the console by itself.
    """
    paths = {
        variable(name): str(value)
        for name in type(settings).model_fields
        if isinstance(value := getattr(settings, name), Path)
    }
    return {**environ, **paths, WITH_WEB: str(with_web).lower()}


def same_settings(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two environments set the same settings, apart from those that concern single workers."""
    return _shared(one) == _shared(other)


def web_address(settings: Settings) -> str:
    """Where a browser on this machine finds the console."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web_host, settings.web_host)  # noqa: S104 - not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.web_port}/cm/launch"


def check_sockets(settings: Settings) -> None:
    """Raises SettingsError when the sockets' paths would be too long for the system."""
    longest = len(os.fsencode(settings.runtime_dir / "supervisor.sock")) + SOCKET_SUFFIX_BYTES
    if longest > SOCKET_PATH_BYTES:
        raise SettingsError(
            f"{variable('runtime_root')} is {str(settings.runtime_root)!r}: it should be "
            f"{longest - SOCKET_PATH_BYTES} bytes shorter, because paths of sockets are limited"
        )


def _shared(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in PER_WORKER and value
    }


def _environment_of(settings: Settings, name: str, family: str) -> str:
    own = {"threads": settings.threads_for(family)} if family else {}
    if name == WEB:
        own = {field: value for field in WEB_SETTINGS if (value := getattr(settings, field)) not in (None, "")}
    return ",".join(f'{variable(field)}="{_quoted(field, str(value))}"' for field, value in own.items())


def _quoted(field: str, value: str) -> str:
    if '"' in value:
        raise SettingsError(f"{variable(field)} is {value!r}: supervisord cannot pass on a quotation mark")
    return _literal(value)


def _autostart(name: str) -> str:
    return f"%(ENV_{WITH_WEB})s" if name == WEB else "true"


def _sections(template: str) -> Iterable[str]:
    """The template in three: what is fixed, the embedded broker, a worker."""
    head, valkey, program = re.split(r"^(?=\[program:)", template, flags=re.MULTILINE)
    return head, valkey, program


def _literal(path: str) -> str:
    if any(mark in path for mark in ("\n", "%", " ;", " #")):
        raise SettingsError(f"The path {path!r} cannot be used: '%', ' ;' and ' #' mean something to supervisord.")
    return path
