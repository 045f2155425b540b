"""The command line `cm-actors`. Importing this is cheap: each command's module is imported when it is used."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run `cm-actors` with `arguments`, by default those of this process; returns the exit code."""
    from cloudmesh_actors.cli import streams

    streams.prepare()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    streams.finish()
    return code


def _run(arguments: list[str]) -> int:
    import typer

    from cloudmesh_actors.cli.app import app, options
    from cloudmesh_actors.errors import CloudmeshError

    command: Any = typer.main.get_command(app)
    try:
        command.main(arguments, prog_name="cm-actors")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CloudmeshError as error:
        return _told(error, debug=options.debug)
    except KeyboardInterrupt:
        from cloudmesh_actors.cli.exits import ExitCode

        return ExitCode.INTERRUPTED
    except Exception as error:
        from cloudmesh_actors.cli import faults

        return faults.report(error, debug=options.debug)
    return 0


def _told(error: Any, *, debug: bool) -> int:
    from cloudmesh_actors.cli.exits import exit_code
    from cloudmesh_actors.cli.streams import say

    if debug:
        import traceback

        traceback.print_exception(error)
    else:
        say(str(error))
    return exit_code(error)
