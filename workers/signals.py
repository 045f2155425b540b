"""SIGTERM, SIGINT and SIGHUP ask a process to stop; asking twice is the same as asking once."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Remembers that a stop was asked for, and wakes whoever waits for it.

    Made of a pipe, not of a `threading.Event`: a signal handler that sets an event while the main thread is about to
    wait on it locks itself out.
    """

    def __init__(self) -> None:
        self._asked = False
        self._awake, alarm = os.pipe()
        for descriptor in (self._awake, alarm):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask)

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked

    def wait(self, timeout_s: float) -> bool:
        """Wait until a stop is asked for, at most `timeout_s` seconds; returns `asked`."""
        if not self._asked and select.select([self._awake], [], [], timeout_s)[0]:
            os.read(self._awake, 4096)
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
