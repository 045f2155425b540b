"""When a datagram is sent again: the round trip is measured and the waits grow, as in RFC 6298.

Pure: the caller tells the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

#: The wait for the first answer of a BMC of which no round trip is known, in seconds.
FIRST_WAIT_S = 0.35

#: No wait is shorter: a BMC may take this long over a command it usually answers at once, in seconds.
SHORTEST_WAIT_S = 0.15

#: No wait is longer, in seconds.
LONGEST_WAIT_S = 1.3

#: Each wait for the same answer is so much longer than the one before.
GROWTH = 1.4

#: A BMC that has not answered a request for so long is given up, in seconds: after 6 sendings when the round trip
#: is not known, after 8 when it is short. At 5 % loss each way one request in 10⁶ fails so.
SILENCE_S = 4.5


class Retransmission:
    """The timer of one session: one request is under way at a time.

    `spread` gives a factor for each wait, so that many sessions that lost a datagram at once do not send again at
    once. After `silence` seconds a request is given up.
    """

    def __init__(
        self,
        spread: Callable[[], float] = lambda: random.uniform(0.9, 1.1),  # noqa: S311
        silence: float = SILENCE_S,
    ) -> None:
        self._spread, self._silence = spread, silence
        self._smoothed: float | None = None
        self._variation = 0.0
        self._base = FIRST_WAIT_S
        self._wait = FIRST_WAIT_S
        self._sent_at: float | None = None
        self.sendings = 0
        self.due = 0.0

    def gives_up(self, now: float) -> bool:
        """Whether the request has been unanswered for so long that it is not sent again."""
        return self._sent_at is not None and now - self._sent_at >= self._silence

    def first(self, now: float) -> None:
        """A new request goes out; the one before it, if any, has been answered."""
        self.answered(now)
        self._sent_at, self.sendings, self._wait = now, 1, self._base
        self.due = now + self._wait * self._spread()

    def again(self, now: float) -> None:
        """The same request goes out again."""
        self.sendings += 1
        self._wait = min(self._wait * GROWTH, LONGEST_WAIT_S)
        self.due = now + self._wait * self._spread()

    def answered(self, now: float) -> None:
        """The answer is there.

        After a repetition it cannot be told which sending it answers: no round trip is taken from it, and the longer
        wait is kept for the next request (Karn's algorithm).
        """
        if self._sent_at is None:
            return
        if self.sendings == 1:
            self._learn(now - self._sent_at)
        else:
            self._base = self._wait
        self._sent_at = None

    def _learn(self, round_trip: float) -> None:
        if self._smoothed is None:
            self._smoothed, self._variation = round_trip, round_trip / 2
        else:
            self._variation += (abs(self._smoothed - round_trip) - self._variation) / 4
            self._smoothed += (round_trip - self._smoothed) / 8
        wait = self._smoothed + 4 * self._variation
        self._base = min(max(wait, SHORTEST_WAIT_S), LONGEST_WAIT_S)
