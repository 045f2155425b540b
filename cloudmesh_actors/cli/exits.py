"""What `cm-actors` returns to its caller, and which error means what."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudmesh_actors.errors import CloudmeshError


class ExitCode(IntEnum):
    """The exit codes of `cm-actors`; ``docs/command-line.md`` has them in a table."""

    #: All is well.
    OK = 0
    #: A job failed, was aborted or took longer than the wait, or something is not well with some nodes or workers.
    FAILED = 1
    #: Wrong usage: an unknown command, actor, node or job, or arguments that do not fit. Nothing was sent.
    USAGE = 2
    #: The broker or the store is away, or cannot be used.
    UNAVAILABLE = 3
    #: The site file or a setting is wrong.
    SITE = 4
    #: A fault in this program (EX_SOFTWARE of sysexits.h).
    BUG = 70
    #: Ctrl-C (128 + SIGINT).
    INTERRUPTED = 130


def told_error(error: CloudmeshError) -> CloudmeshError:
    """The error that people are told of: a wrong site or setting itself, not the argument that was found with it."""
    from cloudmesh_actors import errors

    cause = error.__cause__
    return cause if isinstance(cause, errors.SiteError | errors.SettingsError) else error


def exit_code(error: CloudmeshError) -> ExitCode:
    """The exit code that an error stands for."""
    from cloudmesh_actors import errors

    if isinstance(error, errors.BrokerUnavailable | errors.StoreError):
        return ExitCode.UNAVAILABLE
    if isinstance(told_error(error), errors.SiteError | errors.SettingsError):
        return ExitCode.SITE
    if isinstance(error, errors.JobFailed | errors.JobAborted | errors.JobTimeout):
        return ExitCode.FAILED
    if isinstance(error, errors.ArgumentError | errors.NodeSetError | errors.JobError):
        return ExitCode.USAGE
    return ExitCode.FAILED
