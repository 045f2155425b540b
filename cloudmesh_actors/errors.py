"""The errors of this library. Each one's text is a sentence for an operator.

::

    CloudmeshError
    ├── SettingsError                 a setting is missing, unreadable or wrong
    ├── SiteError                     the site file is wrong: file, line and key
    │   └── RecipeError               a recipe is wrong
    ├── NodeSetError                  a node set cannot be read: the faulty part
    ├── ArgumentError                 what was to be sent is wrong, and was not sent
    │   ├── UnknownActor
    │   └── UnknownNode
    ├── BrokerUnavailable             the (masked) URL and what to do
    ├── StoreError
    │   └── StoreUnavailable          the (masked) URL and what to do
    ├── JobError
    │   ├── UnknownJob
    │   ├── JobFailed
    │   ├── JobAborted                also raised inside a run, at its next safe point
    │   └── JobTimeout
    ├── FleetError                    workers could not be started or stopped: which ones, and why
    └── NodeError                     one node's conversation failed; `kind` is its short name
        ├── Unreachable               kind "unreachable"
        ├── AuthenticationFailed      kind "authentication"
        ├── HostKeyError              kind "hostkey": the host may be another one than it says
        ├── SessionsExhausted         kind "sessions"
        ├── ProtocolError             kind "protocol"
        ├── DeadlineExceeded          kind "deadline"
        ├── Unsupported               kind "unsupported"
        ├── NotFound                  kind "not_found": a server has no such system or profile
        ├── Refused                   kind "refused": a server would not or could not do it, and says why
        ├── OutcomeUnknown            kind "unknown": a worker died in mid-command; look before repeating
        ├── ScriptFailed              kind "script": a recipe's script did not end well
        ├── LeaseHeld                 kind "lease_held": another job works on the node
        └── LeaseLost                 kind "lease_lost": the right to change the node ended; nothing more is sent
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class CloudmeshError(Exception):
    """The root of all errors raised on purpose by this library."""


class SettingsError(CloudmeshError):
    """A setting is missing, unreadable or wrong."""


class SiteError(CloudmeshError):
    """The site file is wrong; the sentence names file, line and key."""

    def __init__(self, message: str, *, file: Path | None = None, line: int | None = None, key: str = "") -> None:
        self.file, self.line, self.key, self.reason = file, line, key, message
        where = f"{file}" + (f":{line}" if line else "") if file else ""
        super().__init__(": ".join(part for part in (where, key, message) if part))


class RecipeError(SiteError):
    """A recipe of the launcher is wrong; the others can be used."""

    def __init__(
        self, message: str, *, recipe: str = "", file: Path | None = None, line: int | None = None, key: str = ""
    ) -> None:
        self.recipe = recipe
        super().__init__(message, file=file, line=line, key=key)


class NodeSetError(CloudmeshError):
    """A node set cannot be read; `part` is the piece at fault."""

    def __init__(self, message: str, *, part: str = "") -> None:
        self.part = part
        super().__init__(message)


class ArgumentError(CloudmeshError):
    """What was to be sent is wrong; it was not sent."""


class UnknownActor(ArgumentError):
    """No actor has that name."""


class UnknownNode(ArgumentError):
    """The site has no such node, cluster or rack."""


class BrokerUnavailable(CloudmeshError):
    """The broker does not answer."""


class StoreError(CloudmeshError):
    """The store cannot be used as it is configured."""


class StoreUnavailable(StoreError):
    """The store does not answer."""


class JobError(CloudmeshError):
    """Something about one job."""


class UnknownJob(JobError):
    """The store has no such job."""


class JobFailed(JobError):
    """The job ended in failure."""


class JobAborted(JobError):
    """The job was aborted."""


class JobTimeout(JobError):
    """The job has not ended in the given time; it goes on."""


class FleetError(CloudmeshError):
    """Workers could not be started or stopped."""


class NodeError(CloudmeshError):
    """One node's conversation failed. `kind` is stored and shown beside the sentence."""

    kind: ClassVar[str] = "error"


class Unreachable(NodeError):
    """Nothing answers at the address."""

    kind = "unreachable"


class AuthenticationFailed(NodeError):
    """The user or the password is refused."""

    kind = "authentication"


class HostKeyError(NodeError):
    """The host's SSH key is not the one that is known, or none is known."""

    kind = "hostkey"


class SessionsExhausted(NodeError):
    """The BMC has no free session."""

    kind = "sessions"


class ProtocolError(NodeError):
    """The answer is not what the protocol says."""

    kind = "protocol"


class DeadlineExceeded(NodeError):
    """The conversation took longer than it may."""

    kind = "deadline"


class Unsupported(NodeError):
    """The node's hardware has no such function."""

    kind = "unsupported"


class NotFound(NodeError):
    """The server has no such system or profile."""

    kind = "not_found"


class Refused(NodeError):
    """The server understood, and would not or could not do it."""

    kind = "refused"


class OutcomeUnknown(NodeError):
    """A worker died in mid-command: whether it was carried out is not known."""

    kind = "unknown"


class LeaseHeld(NodeError):
    """Another job works on the node."""

    kind = "lease_held"


class LeaseLost(NodeError):
    """The right to change the node ended before the work on it did."""

    kind = "lease_lost"


class ScriptFailed(NodeError):
    """A recipe's script ended badly, took too long or was killed."""

    kind = "script"
