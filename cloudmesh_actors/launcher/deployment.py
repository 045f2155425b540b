"""One launch on one server: its script is started once, followed, and its outcome told.

The script outlives the worker. Before it is started, its name is written down; a run that finds one from before asks
for that script, and starts another only where nothing can happen twice, or where the recipe says that it may.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from cloudmesh_actors import logs
from cloudmesh_actors.clients.shell.model import KILL_AFTER_S, Look, Phase, Runner, Script
from cloudmesh_actors.errors import (
    DeadlineExceeded,
    JobAborted,
    NodeError,
    OutcomeUnknown,
    ScriptFailed,
    Unreachable,
)
from cloudmesh_actors.launcher.model import Recipe, Value
from cloudmesh_actors.launcher.printout import Printout
from cloudmesh_actors.launcher.records import Begun
from cloudmesh_actors.runs import HandedBack, Run

#: Waits between two looks at a script, in seconds; the last one repeats, and new output begins them afresh.
LOOK_AGAIN_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)

#: How long the last output of a script is waited for that has ended: something that it left behind may hold it open.
DRAIN_S = 2.0

#: A script that was started and does not begin is given up after so long, in seconds.
BEGIN_S = 20.0

#: A host that does not answer while its script runs is asked for so long, in seconds, before it is given up.
PATIENCE_S = 120.0

#: The output is written to the store at most this often, in seconds.
WRITE_EVERY_S = 1.0

#: What shells end with when there is no such program, or it is none.
NOT_FOUND = (126, 127)

log = logs.get_logger()


class Notes(Protocol):
    """What is written down of a launch while it goes on."""

    def starting(self, script: str, place: str) -> None:
        """Durably: a script of that name is about to be started there."""

    def printed(self, text: str) -> None:
        """The output so far."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be launched: a recipe with checked values on one server, as a step of a job."""

    step_id: str
    job_id: str
    server: str
    recipe: Recipe
    values: Mapping[str, Value]

    def script(self, name: str) -> Script:
        """The script that does it."""
        recipe, server = self.recipe, self.server
        environment = recipe.environment(server, self.values) | {"CM_JOB": self.job_id}
        file = recipe.script_file.read_bytes() if recipe.script_file else None
        return Script(name, recipe.command_lists(server, self.values), recipe.timeout, environment, file)


class Deployment:
    """Carries one launch out.

    Args:
        begun: what earlier runs wrote down.
        allowed: called immediately before the script is started; raises when it must not.
        seconds: how long this run may follow the script before another goes on.
    """

    def __init__(
        self,
        order: Order,
        runner: Runner,
        notes: Notes,
        *,
        run: Run,
        begun: Begun,
        printout: Printout,
        allowed: Callable[[], None] = lambda: None,
        seconds: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._order, self._server, self._recipe = order, order.server, order.recipe
        self._runner, self._notes, self._run = runner, notes, run
        self._begun, self._printout, self._allowed = begun, printout, allowed
        self._clock, self._sleep = clock, sleep
        self._until = clock() + seconds
        self._name = ""
        self._read = 0
        self._written_at = clock()
        self._unwritten = False

    def carry_out(self) -> None:
        """Start the script, or find the one from before, and follow it to its end.

        Raises:
            ScriptFailed, DeadlineExceeded: it did not end well.
            OutcomeUnknown: how it ended cannot be known.
            JobAborted: somebody asked; the script was ended.
            HandedBack: another run has to go on.
        """
        try:
            seen = self._again(self._begun.script) if self._begun.script else self._first(name_of(self._order.step_id))
        except JobAborted:
            self._abort()
            raise
        finally:
            self._printout.close()
        self._judge(seen)

    def forget(self) -> None:
        """Remove what is kept of the script where it ran; only when its outcome is recorded."""
        try:
            if self._name:
                self._runner.forget(self._name)
        except NodeError as error:
            log.warning("script.not_forgotten", server=self._server, script=self._name, error=str(error))

    def settle(self, *, aborted: bool) -> bool:
        """Find out how a script ended that nobody follows, after ending it if it was aborted; whether it is over."""
        self._name = self._begun.script or ""
        if not self._name or self._runner.place != self._begun.place:
            return False
        if aborted:
            self._abort()
        seen = self._runner.look(self._name, self._read)
        self._take(seen)
        self._printout.close()
        return seen.over or seen.phase is Phase.ABSENT

    # -- starting

    def _first(self, name: str) -> Look:
        self._run.checkpoint()
        self._runner.look(name)  # a host that does not answer is told of before anything is written down
        return self._start(name)

    def _again(self, name: str) -> Look:
        """An earlier run wrote this name down and did not come to the end."""
        self._name = name
        if self._runner.place != self._begun.place:
            return self._instead(f"it was started on {self._begun.place}, and this worker runs {self._runner.place}")
        log.info("script.asked_for", server=self._server, script=name)
        seen = self._patiently(lambda: self._runner.look(name))
        if seen.phase is Phase.ABSENT and not self._recipe.changes_node:
            return self._start(name)  # its folder would be there if it had begun
        if seen.phase is Phase.ABSENT:
            return self._instead("nothing is left of it, but its recipe may have had the server installed anew")
        if seen.phase is Phase.LOST:
            return self._instead("it is gone and left no word")
        return self._follow(name)

    def _instead(self, reason: str) -> Look:
        """What became of the earlier script is unknown."""
        if not self._recipe.repeatable:
            raise OutcomeUnknown(f"{self._server}: a worker died while the script ran, and {reason}; look there first.")
        log.warning("script.repeated", server=self._server, reason=reason)
        return self._start(f"{name_of(self._order.step_id)}-{self._run.number}")

    def _start(self, name: str) -> Look:
        script = self._order.script(name)
        self._name = name
        self._notes.starting(name, self._runner.place)
        self._allowed()
        trouble: NodeError | None = None
        try:
            started = self._runner.start(script)
            log.info("script.started", server=self._server, script=name, place=self._runner.place, anew=started)
        except (Unreachable, DeadlineExceeded) as error:  # whether it arrived can be asked for
            trouble = error
        seen = self._follow(name)
        if seen.phase is Phase.ABSENT:
            raise trouble or ScriptFailed(f"{self._server}: the script's folder went while it ran.")
        return seen

    # -- following

    def _follow(self, name: str) -> Look:
        """The last look at a script, which is over or was never there."""
        began, ended = self._clock(), float("inf")
        waits = iter(LOOK_AGAIN_S)
        while True:
            seen = self._patiently(lambda: self._runner.look(name, self._read))
            if self._take(seen):
                waits = iter(LOOK_AGAIN_S)
            if seen.over:
                ended = min(ended, self._clock())
            if seen.phase is Phase.ABSENT or (seen.over and (seen.complete or self._clock() - ended > DRAIN_S)):
                return seen
            if seen.phase is Phase.STARTING and self._clock() - began > BEGIN_S:
                self._runner.abort(name)
                raise OutcomeUnknown(f"{self._server}: the script did not begin within {BEGIN_S:g} s; look there.")
            self._pause(next(waits, LOOK_AGAIN_S[-1]))

    def _pause(self, seconds: float) -> None:
        self._run.checkpoint()
        if self._clock() > self._until:
            log.info("script.handed_on", server=self._server, reason="a run may not take so long")
            raise HandedBack
        self._sleep(seconds)

    def _take(self, seen: Look) -> bool:
        """Take the new output; whether there was some."""
        if seen.output:
            self._read += len(seen.output)
            self._printout.take(seen.output)
            self._unwritten = True
        if seen.tail:
            self._printout.leave_out()
            self._printout.take(seen.tail)
        if self._unwritten and not seen.over and self._clock() - self._written_at >= WRITE_EVERY_S:
            self._written_at, self._unwritten = self._clock(), False
            self._notes.printed(self._printout.text())
        return bool(seen.output)

    def _patiently(self, look: Callable[[], Look]) -> Look:
        """A look at a script that was started; a host may be away for a while, and its script goes on."""
        until, told = self._clock() + PATIENCE_S, False
        for wait in _forever(LOOK_AGAIN_S):
            try:
                return look()
            except (Unreachable, DeadlineExceeded) as error:
                if self._clock() >= until:
                    raise OutcomeUnknown(
                        f"{self._server}: the script was started, and then the host did not answer: {error}"
                    ) from None
                if not told:
                    log.warning("script.out_of_sight", server=self._server, error=str(error))
                    told = True
            self._pause(wait)
        raise AssertionError("it never comes here")

    # -- the end

    def _abort(self) -> None:
        """End the script, if there is one, and take the last of its output."""
        if not self._name:
            return
        try:
            self._runner.abort(self._name)
            until = self._clock() + KILL_AFTER_S + DRAIN_S
            while self._clock() < until:
                seen = self._runner.look(self._name, self._read)
                self._take(seen)
                if seen.phase is Phase.ABSENT or (seen.over and seen.complete):
                    log.info("script.aborted", server=self._server, script=self._name)
                    return
                self._sleep(0.1)
        except NodeError as error:
            log.warning("script.not_ended", server=self._server, script=self._name, error=str(error))

    def _judge(self, seen: Look) -> None:
        if seen.phase is Phase.ENDED and seen.status == 0:
            return
        server, said = self._server, self._said()
        match seen.phase:
            case Phase.ENDED:
                why = " (there is no such program)" if seen.status in NOT_FOUND else ""
                raise ScriptFailed(f"{server}: {self._shown(seen)} ended with status {seen.status}{why}{said}.")
            case Phase.LATE:
                raise DeadlineExceeded(
                    f"{server}: the script was not over after {self._recipe.timeout:g} s, and was ended{said}."
                )
            case Phase.LOST:
                raise OutcomeUnknown(f"{server}: the script is gone and left no word; the host may have gone down.")
        raise ScriptFailed(f"{server}: the script was killed{said}.")

    def _said(self) -> str:
        line = self._printout.last_line
        return f"; it said last: {line[:200]}" if line else ""

    def _shown(self, seen: Look) -> str:
        if self._recipe.script_file is not None:
            return self._recipe.script_file.name
        return self._recipe.commands[seen.command - 1][0] if seen.command else "the script"


def name_of(step_id: str) -> str:
    """A name for the script of a step: its id, unless that cannot be the name of a folder."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", step_id):
        return step_id
    return hashlib.sha256(step_id.encode()).hexdigest()[:40]


def _forever(waits: tuple[float, ...]) -> Iterator[float]:
    yield from waits
    while True:
        yield waits[-1]
