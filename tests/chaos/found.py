"""What a scenario came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Found:
    """What a scenario came to. Times are in seconds."""

    scenario: str
    broker: str
    store: str = "SQLite"
    seed: int = 0
    taken: int = 0
    harm: str = ""
    refused: int = 0
    unclear: int = 0
    refused_ran: int = 0
    lost: int = 0
    not_sent: int = 0
    doubled: int = 0
    twice: int = 0
    left: int = 0
    set_aside: int = 0
    orphans: int = 0
    stale: int = 0
    said: float = 0.0
    back: list[float] = field(default_factory=list)
    workers_back: list[float] = field(default_factory=list)
    longest_send: float = 0.0
    seconds: float = 0.0
    load: float = 0.0
    helped: int = 0
    note: str = ""
    wrong: list[str] = field(default_factory=list)

    @property
    def counts(self) -> str:
        """What was sent, and what was done to it."""
        return f"{self.taken:,} / {self.harm}"

    @property
    def is_well(self) -> bool:
        """Whether all holds that must."""
        return not self.wrong
