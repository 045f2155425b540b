"""What the shell offers after a Tab. A trouble (no store, no site) offers nothing, and stays unsaid."""

from __future__ import annotations

#: What can be done with the power of nodes.
POWER = ("status", "on", "off", "cycle", "soft")

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


def clusters(incomplete: str) -> list[str]:
    """The site's clusters that have batch queues."""
    from cloudmesh_actors import site
    from cloudmesh_actors.errors import CloudmeshError

    try:
        known = site.current().clusters.values()
    except CloudmeshError:
        return []
    return [cluster.name for cluster in known if cluster.server and cluster.name.startswith(incomplete)]


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]
