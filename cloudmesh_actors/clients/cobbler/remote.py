"""The client of a real Cobbler 3.3, over XML-RPC."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading
import time
import xmlrpc.client
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from xml.parsers.expat import ExpatError

from cloudmesh_actors.clients.cobbler.faults import TOKEN_UNKNOWN, Subject, event_errors
from cloudmesh_actors.clients.cobbler.model import (
    CobblerSystem,
    Distro,
    Event,
    EventState,
    Installation,
    Interface,
    PowerAccess,
    PowerCommand,
    PowerState,
    Profile,
)
from cloudmesh_actors.clients.cobbler.transport import Transport, tls_of
from cloudmesh_actors.clients.cobbler.turns import one_at_a_time
from cloudmesh_actors.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    NodeError,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    Unreachable,
)

if TYPE_CHECKING:
    from cloudmesh_actors import site

#: How long Cobbler may take where it asks a BMC: it tries a fence agent three times, 36 to 66 s for a dead BMC.
POWER_DEADLINE_S = 90.0

#: How long a sync may take: 5.4 s with 1,000 systems. Others wait for it as long.
SYNC_DEADLINE_S = 300.0

#: Requests that begin at once, in this process: cobblerd's listen queue has five places, and breaks off what overflows.
BEGIN_AT_ONCE = 4

#: What is asked again when Cobbler breaks off, after so many seconds each time: it changes nothing, or nothing
#: more; of `power_system` only the status is asked.
ASK_AGAIN_S = (0.1, 0.5)
REPEATABLE = frozenset(
    {"extended_version", "get_item_names", "get_system", "get_distros", "get_profiles", "get_item_handle", "login",
     "get_task_status", "get_event_log", "get_status", "modify_system", "power_system"}
)  # fmt: skip

#: What Cobbler gives for an object that does not exist, and for a value that comes from above.
MISSING, INHERITED = "~", "<<inherit>>"

#: Its states of a task → ours. One that runs is a "notification" until it has ended.
EVENT_STATES: Mapping[str, EventState] = {"complete": "complete", "failed": "failed"}

_NO_SUCH_EVENT = "no event with that id"

#: Logins of this process, by server and user: Cobbler keeps each for an hour.
_tokens: dict[tuple[str, str], str] = {}
_tokens_guard = threading.Lock()

_gates: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(BEGIN_AT_ONCE))


class RemoteCobbler:
    """A conversation with a Cobbler.

    Args:
        seconds: how long it may take for one answer.
        folder: where the lock files of syncs lie; processes that share it take turns.
    """

    def __init__(self, cobbler: site.Cobbler, seconds: float, folder: Path) -> None:
        self._cobbler, self._seconds, self._folder = cobbler, seconds, folder
        self._subject = Subject(cobbler.name, cobbler.url, cobbler.user)
        try:
            self._tls = tls_of(cobbler.url, cobbler.ca_file)
        except OSError as error:
            raise AuthenticationFailed(f"{self._subject}: `ca_file` {cobbler.ca_file} is of no use: {error}.") from None

    def version(self) -> str:
        """See `Cobbler`."""
        return str(self._call("extended_version")["version"])

    def systems(self) -> list[str]:
        """See `Cobbler`."""
        return sorted(self._call("get_item_names", "system"))

    def system(self, name: str) -> CobblerSystem:
        """See `Cobbler`."""
        return _system(self._system(name))

    def distros(self) -> list[Distro]:
        """See `Cobbler`."""
        return sorted(map(_distro, self._call("get_distros")), key=lambda distro: distro.name)

    def profiles(self) -> list[Profile]:
        """See `Cobbler`."""
        return sorted(map(_profile, self._call("get_profiles")), key=lambda profile: profile.name)

    def add_system(
        self,
        name: str,
        profile: str,
        *,
        interfaces: Iterable[Interface] = (),
        power: PowerAccess | None = None,
        hostname: str = "",
    ) -> None:
        """See `Cobbler`."""
        handle = self._with_token("new_system", node=name)
        values = {"name": name, "profile": profile, "netboot_enabled": False, "hostname": hostname, **_power(power)}
        for attribute, value in values.items():
            self._modify(handle, attribute, value, node=name)
        for interface in interfaces:
            self._modify(handle, "modify_interface", _interface_values(interface), node=name)
        self._with_token("save_system", handle, node=name, after=("new",))

    def remove_system(self, name: str) -> None:
        """See `Cobbler`."""
        self._handle(name)  # removing one that does not exist is True there
        self._with_token("remove_system", name, node=name)

    def prepare(self, name: str, profile: str | None = None) -> None:
        """See `Cobbler`."""
        handle = self._handle(name)
        if profile is not None:
            self._modify(handle, "profile", profile, node=name)
        self._modify(handle, "netboot_enabled", True, node=name)
        self._with_token("save_system", handle, node=name)

    def set_netboot(self, name: str, on: bool) -> None:
        """See `Cobbler`."""
        if self.netboot(name) == on:
            return
        handle = self._handle(name)
        self._modify(handle, "netboot_enabled", on, node=name)
        self._with_token("save_system", handle, node=name)

    def netboot(self, name: str) -> bool:
        """See `Cobbler`."""
        return _truth(self._system(name).get("netboot_enabled"))

    def power(self, name: str, command: PowerCommand) -> str:
        """See `Cobbler`."""
        self._handle(name)  # an event for a system that does not exist is complete
        options = {"systems": [name], "power": command}
        return str(self._with_token("background_power_system", options, node=name, once=True))

    def event(self, event_id: str) -> Event:
        """See `Cobbler`."""
        try:
            status = self._call("get_task_status", event_id)
        except Refused as error:
            if _NO_SUCH_EVENT in str(error):
                return Event(event_id, "lost")
            raise
        state = EVENT_STATES.get(status[2], "running")
        return Event(event_id, state, event_errors(event_id, self._call("get_event_log", event_id)))

    def power_status(self, name: str) -> PowerState:
        """See `Cobbler`."""
        handle = self._handle(name)
        is_on = self._with_token("power_system", handle, "status", node=name, seconds=POWER_DEADLINE_S)
        return "on" if is_on else "off"

    def power_statuses(self, names: Iterable[str], width: int = 16) -> dict[str, PowerState | Exception]:
        """See `Cobbler`."""
        wanted = list(dict.fromkeys(names))
        with ThreadPoolExecutor(max(1, min(width, len(wanted))), thread_name_prefix="cobbler") as pool:
            return dict(zip(wanted, pool.map(self._power_or_error, wanted), strict=True))

    def installation(self, name: str) -> Installation:
        """See `Cobbler`."""
        target = f"system:{name}"
        status = self._with_token("get_status", "normal", node=name)
        # a row for each address that it had: the installer's may be another one than the installed system's
        rows = [row for row in status.values() if row[2] == target]
        return Installation(_latest(row[0] for row in rows), _latest(row[1] for row in rows))

    def sync(self) -> None:
        """See `Cobbler`."""

        def work() -> None:
            self._with_token("sync", seconds=SYNC_DEADLINE_S)

        key = f"sync-{self._cobbler.name}"
        one_at_a_time(work, key=key, folder=self._folder, wait=SYNC_DEADLINE_S, subject=str(self._subject))

    def close(self) -> None:
        """Every call has a connection of its own; the login is for the next conversation."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _power_or_error(self, name: str) -> PowerState | Exception:
        try:
            return self.power_status(name)
        except NodeError as error:
            return error

    def _system(self, name: str) -> dict[str, Any]:
        found = self._call("get_system", name, node=name)
        if found == MISSING or not isinstance(found, dict):
            raise self._subject.error("unknown system name", name)
        return found

    def _handle(self, name: str) -> str:
        return str(self._call("get_item_handle", "system", name, node=name))

    def _modify(self, handle: str, attribute: str, value: Any, *, node: str) -> None:
        """Set an attribute. Cobbler answers False, and no fault, for one that it does not know."""
        if self._with_token("modify_system", handle, attribute, value, node=node) is not True:
            raise Refused(f"{self._subject.of(node)} does not take {attribute!r} for a system.")

    # -- calls

    def _with_token(
        self,
        method: str,
        *args: Any,
        node: str = "",
        after: tuple[Any, ...] = (),
        seconds: float | None = None,
        once: bool = False,
    ) -> Any:
        """A call with the login among its arguments, before those of `after`; renewed when Cobbler has forgotten it.

        With an unknown token nothing was done, so the call may be made again, whatever it does.
        """
        token = self._token()
        try:
            return self._call(method, *args, token, *after, node=node, seconds=seconds, once=once)
        except _TokenUnknown:
            token = self._token(instead_of=token)
        try:
            return self._call(method, *args, token, *after, node=node, seconds=seconds, once=once)
        except _TokenUnknown:
            raise self._subject.error("invalid token", node) from None

    def _token(self, instead_of: str = "") -> str:
        key = self._cobbler.url, self._cobbler.user
        with _tokens_guard:
            known = _tokens.get(key, "")
        if known and known != instead_of:
            return known
        token = str(self._call("login", self._cobbler.user, self._cobbler.password.reveal()))
        with _tokens_guard:
            _tokens[key] = token
        return token

    def _call(self, method: str, *args: Any, node: str = "", seconds: float | None = None, once: bool = False) -> Any:
        """A request and its answer. `once`: a command, of which one has to know whether it arrived."""
        for pause in ASK_AGAIN_S if method in REPEATABLE else ():
            try:
                return self._ask(method, args, node, seconds, once)
            except BrokenOff:
                time.sleep(pause)
        return self._ask(method, args, node, seconds, once)

    def _ask(self, method: str, args: tuple[Any, ...], node: str, seconds: float | None, once: bool) -> Any:
        seconds = max(self._seconds, seconds or 0.0)
        transport = Transport(self._tls, seconds, _gates[self._cobbler.url])
        proxy = xmlrpc.client.ServerProxy(self._cobbler.url, transport=transport, allow_none=True)
        with contextlib.closing(transport):
            try:
                return getattr(proxy, method)(*args)
            except xmlrpc.client.Fault as fault:
                raise self._fault(fault, node) from None
            except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError) as error:
                trouble = _trouble(error, self._subject.of(node), seconds)
                if once and transport.connected:
                    raise OutcomeUnknown(f"{trouble} Whether it took the command is not known.") from None
                raise trouble from None

    def _fault(self, fault: xmlrpc.client.Fault, node: str) -> Exception:
        text = str(fault.faultString)
        return _TokenUnknown() if TOKEN_UNKNOWN.search(text) else self._subject.error(text, node)


class BrokenOff(ProtocolError):
    """The connection ended before the answer came."""


class _TokenUnknown(Exception):
    """Cobbler does not know the token. Without its text, which has the token in it."""


def forget_logins() -> None:
    """Forget the logins of this process (tests)."""
    with _tokens_guard:
        _tokens.clear()


os.register_at_fork(after_in_child=_tokens.clear)


def _trouble(error: Exception, who: str, seconds: float) -> NodeError:
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"{who} does not answer within {seconds:g} s; it is slow or hangs, or is restarted.")
    if isinstance(error, ssl.SSLCertVerificationError):
        return AuthenticationFailed(
            f"{who} shows a certificate that is not trusted ({error.verify_message}); `ca_file` in the site file names "
            "the authority that signed it."
        )
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return BrokenOff(f"{who} broke off before it answered; was it restarted?")
    if isinstance(error, OSError):
        return Unreachable(f"{who} cannot be reached: {error.strerror or error}.")
    if isinstance(error, xmlrpc.client.ProtocolError):
        return ProtocolError(f"{who} answers {error.errcode} {error.errmsg}; is `url` in the site file its XML-RPC?")
    first = (str(error) or type(error).__name__).splitlines()[0][:200]
    return ProtocolError(f"{who} does not answer as a Cobbler does ({first}); check `url` in the site file.")


def _latest(moments: Iterable[float]) -> float | None:
    latest = max(moments, default=-1)
    return float(latest) if latest > 0 else None


def _truth(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True", "yes")


def _word(value: Any) -> str:
    return "" if value in (None, MISSING, INHERITED) else str(value)


def _system(found: Mapping[str, Any]) -> CobblerSystem:
    """Only what is named here leaves this module: passwords stay behind."""
    interfaces = found.get("interfaces") or {}
    return CobblerSystem(
        name=_word(found.get("name")),
        profile=_word(found.get("profile")),
        netboot=_truth(found.get("netboot_enabled")),
        hostname=_word(found.get("hostname")),
        power_type=_word(found.get("power_type")),
        power_address=_word(found.get("power_address")),
        interfaces=tuple(
            Interface(name, _word(each.get("mac_address")), _word(each.get("ip_address")))
            for name, each in sorted(interfaces.items())
        ),
    )


def _distro(found: Mapping[str, Any]) -> Distro:
    return Distro(*(_word(found.get(key)) for key in ("name", "arch", "breed", "os_version")))


def _profile(found: Mapping[str, Any]) -> Profile:
    return Profile(*(_word(found.get(key)) for key in ("name", "distro", "parent")))


def _power(power: PowerAccess | None) -> dict[str, str]:
    if power is None:
        return {}
    return {
        "power_type": power.type,
        "power_address": power.address,
        "power_user": power.user,
        "power_pass": power.password.reveal(),
        "power_options": "\n".join(power.options),
    }


def _interface_values(interface: Interface) -> dict[str, str]:
    values = {"macaddress": interface.mac, "ipaddress": interface.ip}
    return {f"{key}-{interface.name}": value for key, value in values.items() if value}
