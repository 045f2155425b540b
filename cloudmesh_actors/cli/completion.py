"""What the shell offers after a Tab. A trouble (no store, no site) offers nothing, and stays unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer import Context

if TYPE_CHECKING:
    from cloudmesh_actors.launcher.model import Recipe

#: What can be done with the power of nodes.
POWER = ("status", "on", "off", "cycle", "soft")

#: The same through Cobbler, and what can be listed of one.
RAIN_POWER = ("status", "on", "off", "reboot")
RAIN_LISTS = ("systems", "profiles", "distros")

#: By what means nodes are provisioned.
PROVISION_DRIVERS = ("cobbler", "ipmi", "simulator")

#: Jobs that are offered.
LATEST_JOBS = 30


def actors(incomplete: str) -> list[tuple[str, str]]:
    """Names of actors, each with the first line of its help."""
    from cloudmesh_actors import actor

    actor.import_families()
    known = sorted(actor.ACTORS.items())
    return [(name, _first_line(found.fn.__doc__)) for name, found in known if name.startswith(incomplete)]


def jobs(incomplete: str) -> list[tuple[str, str]]:
    """The latest jobs' ids, each with its actor and state."""
    from cloudmesh_actors import jobs as job_module
    from cloudmesh_actors.errors import CloudmeshError

    try:
        latest = job_module.latest(LATEST_JOBS)
    except CloudmeshError:
        return []
    return [(job.id, f"{job.actor} {job.state}") for job in latest if job.id.startswith(incomplete)]


def states(incomplete: str) -> list[str]:
    """The states of jobs."""
    from cloudmesh_actors.jobs import State

    return [state for state in State if state.startswith(incomplete)]


def queues(incomplete: str) -> list[str]:
    """The queues, which are named after the families."""
    from cloudmesh_actors.families import FAMILIES

    return [family for family in FAMILIES if family.startswith(incomplete)]


def power_actions(incomplete: str) -> list[str]:
    """What can be done with the power of nodes."""
    return [word for word in POWER if word.startswith(incomplete)]


def rain_power(incomplete: str) -> list[str]:
    """What can be done with the power of nodes through Cobbler."""
    return [word for word in RAIN_POWER if word.startswith(incomplete)]


def rain_lists(incomplete: str) -> list[str]:
    """What can be listed of a Cobbler."""
    return [word for word in RAIN_LISTS if word.startswith(incomplete)]


def profiles(incomplete: str) -> list[str]:
    """The profiles that the site's images have; no Cobbler is asked."""
    from cloudmesh_actors import site
    from cloudmesh_actors.errors import CloudmeshError

    try:
        known = {image.cobbler_profile for image in site.current().images.values() if image.cobbler_profile}
    except CloudmeshError:
        return []
    return sorted(name for name in known if name.startswith(incomplete))


def provision_drivers(incomplete: str) -> list[str]:
    """By what means nodes are provisioned."""
    return [word for word in PROVISION_DRIVERS if word.startswith(incomplete)]


def images(incomplete: str) -> list[str]:
    """The site's images; no Cobbler is asked."""
    from cloudmesh_actors import site
    from cloudmesh_actors.errors import CloudmeshError

    try:
        return [name for name in site.current().images if name.startswith(incomplete)]
    except CloudmeshError:
        return []


def clusters(incomplete: str) -> list[str]:
    """The site's clusters that have batch queues."""
    from cloudmesh_actors import site
    from cloudmesh_actors.errors import CloudmeshError

    try:
        known = site.current().clusters.values()
    except CloudmeshError:
        return []
    return [cluster.name for cluster in known if cluster.server and cluster.name.startswith(incomplete)]


def recipes(incomplete: str) -> list[tuple[str, str]]:
    """The site's recipes, each with its label."""
    return [(recipe.name, recipe.label) for recipe in _recipes().values() if recipe.name.startswith(incomplete)]


def recipe_parameters(context: Context, incomplete: str) -> list[tuple[str, str]]:
    """Parameters of the recipe that was named before, ``name=``; after that the values that there are to choose."""
    recipe = _recipes().get(context.params.get("recipe") or "")
    name, chosen, value = incomplete.partition("=")
    if recipe is None:
        return []
    if not chosen:
        return [(f"{it.name}=", it.label) for it in recipe.parameters if it.name.startswith(name)]
    values = {it.name: ("true", "false") if it.type == "boolean" else it.choices for it in recipe.parameters}
    return [(f"{name}={choice}", "") for choice in values.get(name, ()) if choice.startswith(value)]


def launch_states(incomplete: str) -> list[str]:
    """The states of launches."""
    from cloudmesh_actors.launcher.model import LaunchState

    return [state for state in LaunchState if state.startswith(incomplete)]


def _recipes() -> dict[str, Recipe]:
    from cloudmesh_actors.errors import CloudmeshError
    from cloudmesh_actors.launcher.recipes import load_all

    try:
        return load_all().recipes
    except CloudmeshError:
        return {}


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]
