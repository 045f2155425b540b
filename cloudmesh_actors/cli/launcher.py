"""``cm-actors launcher``: recipes, and what became of their launches."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cloudmesh_actors.cli.common import JobId, Json, Timeout, one_of
from cloudmesh_actors.cli.completion import launch_states, recipes
from cloudmesh_actors.cli.launch import Watch
from cloudmesh_actors.cli.lazy import plain_app

app = plain_app(help="Recipes, and what became of their launches.", no_args_is_help=True)


@app.command("recipes")
def recipes_command(
    name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Only this one, with its parameters.", autocompletion=recipes)
    ] = "",
    as_json: Json = False,
) -> None:
    """List the site's recipes; with a name, what one of them takes."""
    from cloudmesh_actors.cli import launchviews, output, streams
    from cloudmesh_actors.cli.exits import ExitCode
    from cloudmesh_actors.launcher.recipes import find, load_all

    found = load_all()
    chosen = [find(name)] if name else list(found.recipes.values())
    if as_json:
        output.as_json([launchviews.recipe_object(recipe) for recipe in chosen])
    else:
        output.show(*(launchviews.recipe(chosen[0]) if name else [launchviews.recipes(chosen)] if chosen else []))
    if name:
        return
    for error in found.errors:
        streams.say(f"{error}.")
    if not chosen:
        streams.say("The site has no recipes that can be used; `recipes:` of the site file names their directory.")
    if found.errors:
        raise typer.Exit(ExitCode.SITE)


@app.command()
def show(  # noqa: PLR0917 - Typer's way to name options
    job_id: Annotated[str, typer.Argument(metavar="[ID]", help="A job, with its servers' output.")] = "",
    recipe: Annotated[str, typer.Option(metavar="RECIPE", help="Only of this recipe.", autocompletion=recipes)] = "",
    server: Annotated[str, typer.Option(metavar="SERVER", help="Only on this server.")] = "",
    state: Annotated[
        str,
        typer.Option(
            metavar="STATE", help="queued, running, deploy, active, error or aborted.", autocompletion=launch_states
        ),
    ] = "",
    number: Annotated[int, typer.Option("-n", min=1, max=100_000, metavar="N", help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the latest launches; of one job, with what their scripts printed."""
    from cloudmesh_actors import jobs
    from cloudmesh_actors.cli import launchviews, output, streams
    from cloudmesh_actors.launcher import records
    from cloudmesh_actors.launcher.model import LaunchState

    found = records.launches(
        job=jobs.find(job_id) if job_id else None,
        recipe=recipe or None,
        server=server or None,
        state=LaunchState(one_of(state, list(LaunchState), "--state")) if state else None,
        limit=number,
    )
    outputs = {launch.step_id: records.output(launch.step_id) for launch in found} if job_id else {}
    if as_json:
        output.as_json([launchviews.launch_object(launch, outputs.get(launch.step_id)) for launch in found])
    elif not found:
        streams.say("There are no such launches.")
    else:
        output.show(launchviews.launches(found), *launchviews.outputs(found, outputs))


@app.command()
def stats(as_json: Json = False) -> None:
    """Count the launches of each recipe by server and state, and tell how long they took."""
    from cloudmesh_actors.cli import launchviews, output, streams
    from cloudmesh_actors.launcher import records

    found = records.stats()
    if as_json:
        output.as_json([launchviews.stat_object(stat) for stat in found])
    elif found:
        output.show(launchviews.stats(found))
    else:
        streams.say("Nothing was launched yet.")


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False, as_json: Json = False) -> None:
    """Forget the launches that have ended, with their output; those that go on stay."""
    from cloudmesh_actors.cli import output, streams
    from cloudmesh_actors.launcher import records
    from cloudmesh_actors.launcher.model import ENDED

    if not yes:
        _ask(sum(stat.count for stat in records.stats() if stat.state in ENDED))
    forgotten = records.reset()
    if as_json:
        output.as_json({"forgotten": forgotten})
    else:
        streams.say(f"{_launches(forgotten)} forgotten.")


def _ask(count: int) -> None:
    from cloudmesh_actors.cli import streams
    from cloudmesh_actors.cli.exits import ExitCode

    what = f"{_launches(count)} that ended, and what their scripts printed, would be forgotten"
    if not sys.stdin.isatty():
        streams.say(f"{what}: nobody is there to be asked. Nothing was done; add --yes if it is meant.")
        raise typer.Exit(ExitCode.USAGE)
    streams.write(f"{what}. Type yes to go on: ", sys.stderr)
    if sys.stdin.readline().strip().lower() != "yes":
        streams.say("Nothing was done.")
        raise typer.Exit(ExitCode.USAGE)


def _launches(count: int) -> str:
    return f"{count:,} launch" if count == 1 else f"{count:,} launches"


@app.command()
def abort(job_id: JobId, as_json: Json = False) -> None:
    """Abort a launch: where it waits it never begins, and scripts that run are ended."""
    from cloudmesh_actors import jobs
    from cloudmesh_actors.cli import jobviews, output, streams
    from cloudmesh_actors.launcher import control

    had_ended = jobs.get(job_id).ended
    job = control.abort(job_id)
    if as_json:
        output.as_json(jobviews.as_object(job))
    if had_ended:
        streams.say(f"The job {job.id[:8]} had ended before: it is {job.state}.")
    elif job.ended:
        streams.say(f"The job {job.id[:8]} is aborted.")
    else:
        streams.say(f"The job {job.id[:8]} was asked to stop; its scripts are ended.")


@app.command()
def relaunch(
    job_id: JobId,
    every: Annotated[bool, typer.Option("--all", help="Also where it is active.")] = False,
    watch: Watch = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Launch again where a launch failed or was aborted, as a new job, and print its id."""
    from cloudmesh_actors.cli import launchwatch
    from cloudmesh_actors.launcher import control

    again = control.relaunch(job_id, failed_only=not every)
    launchwatch.follow_up(again, watch=watch, timeout=timeout, as_json=as_json)
