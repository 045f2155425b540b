"""What can go wrong with a BMC: pyghmi's and IPMI's words → our error and the operator's sentence.

Sources: IPMI 2.0 table 5-2 (completion codes), table 13-15 (RMCP+ and RAKP status codes), pyghmi's own messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyghmi.ipmi.private.constants import ipmi_completion_codes, rmcp_codes

from cloudmesh_actors.errors import (
    AuthenticationFailed,
    NodeError,
    ProtocolError,
    SessionsExhausted,
    Unsupported,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An error class, and its sentence after "i001: the BMC at 10.0.0.1:623"."""

    error: type[NodeError]
    sentence: str


NO_SESSION_LEFT = Fault(
    SessionsExhausted,
    "has no free session; idle ones end within a minute or so: try again then, or reset the BMC.",
)
UNKNOWN_USER = Fault(
    AuthenticationFailed, "does not know the user {user!r}, or refuses it; check `user` in the site file."
)
WRONG_PASSWORD = Fault(AuthenticationFailed, "refuses the password of {user!r}; check `password` in the site file.")
NO_PRIVILEGE = Fault(
    AuthenticationFailed, "does not give {user!r} the privilege for this; raise the user's privilege there."
)
NO_CIPHER = Fault(ProtocolError, "offers neither cipher suite 17 nor 3; enable one of them in its LAN settings.")
WRONG_KG = Fault(ProtocolError, "uses a K_g key of its own; clear it in its LAN settings.")
ONLY_IPMI_15 = Fault(ProtocolError, "speaks IPMI 1.5 only; enable IPMI 2.0 (RMCP+) in its LAN settings.")
LOGIN_BROKE = Fault(
    ProtocolError, "broke off the conversation ({message}); try again, and reset the BMC if it stays so."
)
GARBLED = Fault(
    ProtocolError, "answers what is not IPMI; check that `address` and `port` in the site file are a BMC's."
)
BUSY = Fault(ProtocolError, "stays busy ({message}); try again later.")
UPDATING = Fault(ProtocolError, "is starting or being updated ({message}); try again later.")
UNSUPPORTED = Fault(Unsupported, "cannot do this ({message}).")
REFUSED = Fault(ProtocolError, "refused a command ({message}).")

#: Status codes of RMCP+ and RAKP messages; all others break the login off.
LOGIN_FAULTS: dict[int, Fault] = {
    0x01: NO_SESSION_LEFT,
    0x04: NO_CIPHER,
    0x05: NO_CIPHER,
    0x09: NO_PRIVILEGE,
    0x0A: NO_PRIVILEGE,
    0x0B: NO_SESSION_LEFT,
    0x0C: UNKNOWN_USER,
    0x0D: UNKNOWN_USER,
    0x0F: WRONG_PASSWORD,
    0x10: NO_CIPHER,
    0x11: NO_CIPHER,
}

#: What pyghmi says of a login in its own words: the first words of each.
LOGIN_MESSAGES: dict[str, Fault] = {
    "Incorrect password provided": WRONG_PASSWORD,
    "Invalid RAKP4 integrity code": WRONG_KG,
    "MD5 required": ONLY_IPMI_15,
    "User is not allowed requested privilege level": NO_PRIVILEGE,
    "Requested privilege level is not allowed over this channel": NO_PRIVILEGE,
    **{message: LOGIN_FAULTS.get(code, LOGIN_BROKE) for code, message in rmcp_codes.items()},
}

NODE_BUSY = 0xC0

#: Completion codes; all others are refusals.
COMPLETION_FAULTS: dict[int, Fault] = {
    NODE_BUSY: BUSY,
    0xC1: UNSUPPORTED,
    0xC2: UNSUPPORTED,
    0xC3: BUSY,
    0xD0: UPDATING,
    0xD1: UPDATING,
    0xD2: UPDATING,
    0xD4: NO_PRIVILEGE,
    0xD6: UNSUPPORTED,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a sentence speaks of."""

    node: str
    address: str
    port: int
    user: str

    def __str__(self) -> str:
        return f"{self.node}: the BMC at {self.address}:{self.port}"

    def error(self, fault: Fault, message: str = "") -> NodeError:
        """The fault as an error with its whole sentence."""
        return fault.error(f"{self} {fault.sentence.format(user=self.user, message=message)}")


def login_failed(subject: Subject, message: str | None) -> NodeError:
    """The error for what pyghmi said when a login failed."""
    message = message or "no reason given"
    fault = next((f for start, f in LOGIN_MESSAGES.items() if message.startswith(start)), LOGIN_BROKE)
    return subject.error(fault, message)


def command_failed(subject: Subject, netfn: int, command: int, code: int) -> NodeError:
    """The error for a completion code other than 0."""
    what = ipmi_completion_codes.get(code, "code of the maker's own")
    message = f"{what}, code {code:#04x} to command {netfn:#04x}/{command:#04x}"
    return subject.error(COMPLETION_FAULTS.get(code, REFUSED), message)
