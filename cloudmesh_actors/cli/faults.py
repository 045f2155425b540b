"""What is told of an exception that nobody foresaw: one line, and where the traceback is."""

from __future__ import annotations

import tempfile
import traceback

from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.cli.streams import say, write


def report(error: Exception, *, debug: bool) -> ExitCode:
    """Tell people; with `debug` the traceback is shown, otherwise it is kept in a file that only this user reads."""
    import sys

    from cloudmesh_actors.logs.redact import text as redacted

    text = redacted("".join(traceback.format_exception(error)))
    what = redacted(f"{type(error).__name__}: {error}".splitlines()[0])
    if debug:
        write(text, sys.stderr)
    else:
        say(f"A fault in this program ({what}); the traceback is in {_keep(text)}, and --debug shows it")
    return ExitCode.BUG


def _keep(text: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="cm-actors-", suffix=".traceback", delete=False) as file:
        file.write(text)
    return file.name
