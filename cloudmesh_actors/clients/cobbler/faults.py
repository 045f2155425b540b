"""What a Cobbler says when it will not: its fault texts → our error and the operator's sentence.

All its faults carry the code 1, and their text is ``<class 'cobbler.cexceptions.CX'>:'login failed (alice)'``, so they
can be told apart by the words only. They are those of Cobbler 3.3; a text that is not in the table is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudmesh_actors.errors import AuthenticationFailed, NodeError, NotFound, Refused, Unsupported
from cloudmesh_actors.logs import redact

#: Longer texts (a list of all fence agents, a traceback) are cut.
LONGEST_TEXT = 200

_CLASS = re.compile(r"^<class '[\w.]+'>:")


@dataclass(frozen=True, slots=True)
class Fault:
    """Words of a text, an error class, and its sentence after "i001: the Cobbler main at http://…"."""

    words: re.Pattern[str]
    error: type[NodeError]
    sentence: str


def _fault(words: str, error: type[NodeError], sentence: str) -> Fault:
    return Fault(re.compile(words, re.IGNORECASE), error, sentence)


#: A login that is no longer known: it expired, or Cobbler was restarted. The text holds the token itself.
TOKEN_UNKNOWN = re.compile(r'invalid token|"token" did not have the correct format')

FAULTS = (
    _fault(
        "^login failed",
        AuthenticationFailed,
        "refuses the login of {user!r}; check `user` and `password` in the site file.",
    ),
    _fault(
        TOKEN_UNKNOWN.pattern,
        AuthenticationFailed,
        "forgets a login as soon as it has given it; look at its clock and its `auth_token_expiration`.",
    ),
    _fault(
        "^authorization failure",
        AuthenticationFailed,
        "does not allow {user!r} to do this; its authorization module decides that.",
    ),
    _fault(
        "unknown system name|'NoneType' object has no attribute",
        NotFound,
        "has no such system; `cm-actors rain add` makes one.",
    ),
    _fault(
        'profile .*(is not existing|not found)|unknown profile name|invalid profile name|"profile".* does not exist',
        NotFound,
        "has no such profile ({text}); `cm-actors rain list profiles` shows what it has.",
    ),
    _fault(
        "^no power type set",
        Unsupported,
        "has no power management for this system; set its `power_type` there.",
    ),
    _fault(
        "power management type must be one of|need to have fence-agents installed",
        Unsupported,
        "has no fence agent for this kind of power management; install it there.",
    ),
    _fault(
        r"^command failed \(rc=",
        Refused,
        "could not carry out the power command: its fence agent fails ({text}); check the system's power address, "
        "user, password and options there.",
    ),
    _fault(
        "but output .* was not understood",
        Refused,
        "does not understand its fence agent ({text}).",
    ),
    _fault("already exists", Refused, "has such a system already."),
    _fault(
        "unknown remote method", Unsupported, "does not know what is asked of it ({text}); 3.3 is what is supported."
    ),
)
OTHER = _fault("", Refused, "refuses: {text}.")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a sentence speaks of: a Cobbler, and the node that the conversation is about, if it is about one."""

    cobbler: str
    url: str
    user: str

    def of(self, node: str = "") -> str:
        """How a sentence about a node begins: ``i001: the Cobbler main at http://10.0.0.1/cobbler_api``."""
        return f"{node}: {self}" if node else str(self)

    def __str__(self) -> str:
        return f"the Cobbler {self.cobbler} at {self.url}"

    def error(self, fault: str, node: str = "") -> NodeError:
        """The error for a fault's text."""
        words = plain(fault)
        known = next((entry for entry in FAULTS if entry.words.search(words)), OTHER)
        sentence = known.sentence.format(user=self.user, text=words.rstrip("."))
        return known.error(f"{self.of(node)} {sentence}")


def plain(fault: str) -> str:
    """A fault's text without the name of its class, its quotes, and secrets."""
    words = _CLASS.sub("", fault).strip()
    if len(words) > 1 and words[0] == words[-1] and words[0] in "'\"":
        words = words[1:-1]
    words = redact.text(words)
    return words if len(words) <= LONGEST_TEXT else f"{words[:LONGEST_TEXT]}..."


def event_errors(event_id: str, log: str) -> dict[str, str]:
    """What an event's log says of systems for which it failed: system → reason.

    Only lines that begin with the event's own id are its own: others' may be among them. Nothing else is taken from
    the log, which has the systems' passwords in clear.
    """
    mine = re.compile(
        rf"^\[{re.escape(event_id)}\] .*failed to execute power task on (?P<name>\S+), exception: (?P<why>.*)$"
    )
    found = (mine.match(line) for line in log.splitlines())
    return {match["name"]: plain(match["why"]) for match in found if match}
