"""What the store has of provisionings, and what is changed there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from cloudmesh_actors import site
from cloudmesh_actors.cli import output, provisionviews, results, streams, waiting
from cloudmesh_actors.cli.exits import ExitCode
from cloudmesh_actors.jobs import Job, State
from cloudmesh_actors.nodes import fold
from cloudmesh_actors.provisioner import records, views


def show_status(nodes: str | None, *, as_json: bool) -> None:
    """Print the latest provisioning of nodes; the command fails when one of them has failed."""
    names = site.current().all_nodes if nodes is None else site.current().nodes(nodes)
    entries = views.status(names)
    _print([entry for entry in entries if nodes is not None or entry["state"]], as_json=as_json)
    if not all(entry["ok"] for entry in entries):
        raise typer.Exit(ExitCode.FAILED)


def show_history(nodes: str, *, as_json: bool) -> None:
    """Print how nodes came to their state."""
    entries = [views.history(node) for node in site.current().nodes(nodes)]
    if as_json:
        output.as_json(entries)
        return
    output.show(*provisionviews.history(entries))
    without = [entry["node"] for entry in entries if not entry["transitions"]]
    if without:
        streams.say(f"{fold(without)}: never provisioned.")


def abort(nodes: str, *, as_json: bool) -> None:
    """Ask the provisionings of nodes to stop, and print which go on until their next look."""
    names = site.current().nodes(nodes)
    asked = {it.node for it in records.ask_to_abort(names, time.time())}
    entries = [{**entry, "asked": entry["node"] in asked} for entry in views.status(names)]
    if as_json:
        output.as_json(entries)
        return
    if asked:
        streams.write(f"{fold(asked)}: asked to stop.\n")
    if rest := set(names) - asked:
        streams.say(f"{fold(rest)}: not being provisioned.")


def show_images(job: Job, *, as_json: bool) -> None:
    """Print the images that a job has found, and end the command with its exit code."""
    entries: Sequence[Mapping[str, Any]] = job.result if job.state is State.DONE else []
    if as_json:
        output.as_json(entries)
    else:
        output.show(*provisionviews.images(entries))
    if waiting.code_of(job) or any(entry["error"] for entry in entries):
        raise typer.Exit(ExitCode.FAILED)


def _print(entries: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.as_json(entries)
    elif entries:
        output.show(*provisionviews.status(entries))
    else:
        streams.say("No node was provisioned yet.")


def finish(job: Job, *, as_json: bool) -> None:
    """Print how the nodes of a job ended, and end the command with its exit code."""
    entries = views.of_job(job.id)
    if not entries:
        results.finish(job, as_json=as_json)
        return
    _print(entries, as_json=as_json)
    if job.state is not State.DONE or not all(entry["ok"] for entry in entries):
        raise typer.Exit(ExitCode.FAILED)
