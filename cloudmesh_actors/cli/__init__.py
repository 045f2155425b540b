"""The command line `cm-actors`. Importing this is cheap: each command's module is imported when it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudmesh_actors.errors import CloudmeshError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run `cm-actors` with `arguments`, by default those of this process; returns the exit code.

    No traceback reaches the user unless --debug asks for it: an error is a sentence on stderr.
    """
    from cloudmesh_actors.cli import streams
    from cloudmesh_actors.cli.exits import ExitCode

    streams.prepare()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    finally:
        streams.finish()


def _run(arguments: list[str]) -> int:
    from cloudmesh_actors.cli.app import command, options
    from cloudmesh_actors.errors import CloudmeshError

    program: Any = command()
    try:
        program.main(arguments, prog_name="cm-actors")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CloudmeshError as error:
        return _told(error, debug=options.debug)
    except Exception as error:
        from cloudmesh_actors.cli import faults

        return faults.report(error, debug=options.debug)
    return 0


def _told(error: CloudmeshError, *, debug: bool) -> int:
    from cloudmesh_actors.cli.exits import exit_code, told_error

    if debug:
        import traceback

        traceback.print_exception(error)
    else:
        from cloudmesh_actors.cli.streams import say

        say(str(told_error(error)))
    return exit_code(error)
