"""The actors of the family provisioner: images put on nodes, each node through the same states.

Results are arrays with an entry per node, `{node, ok, error, error_kind, …}`, in the order of the set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from dramatiq import Message
from pydantic import StringConstraints

from cloudmesh_actors import fanout, jobs, settings, site
from cloudmesh_actors.actor import Nodes, actor
from cloudmesh_actors.errors import ArgumentError
from cloudmesh_actors.leases import WaitLease
from cloudmesh_actors.provisioner import catalogue, records, stepping, views
from cloudmesh_actors.provisioner.model import DriverName, NodeResult

#: The name of an image.
ImageName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


@actor("provisioner", changes_hardware=True)
def provision(nodes: Nodes, image: ImageName, driver: DriverName | None = None, wait_lease: WaitLease = 0) -> None:
    """Put an image on nodes: INITIATING, PREPARING_IMAGE, BOOTING, AVAILABLE, SUCCESS; or ERROR, with the reason.

    Each step is a message of its own, `provisioner.step`, so the job may take hours. It ends when every node has; its
    result has an entry per node, with `state`, `image` and `driver`. `status` and `history` show how far they are.

    Args:
        driver: "cobbler", "ipmi" or "simulator"; as the site file has it for each node by default.
        wait_lease: seconds to wait for nodes on which another job works.
    """
    run = jobs.current()
    if not run.job_id:
        raise ArgumentError("provisioner.provision is a chain of messages: send it to a worker, do not call it.")
    names = site.current().nodes(nodes)
    stepping.request(run, names, image, driver, wait_lease)
    for node in names:
        run.then(_step_message(node), key=node)


@actor("provisioner", changes_hardware=True)
def step(node: str) -> None:
    """One step of the provisioning of a node. Sent by `provisioner.provision`, and by itself until the node is done."""
    run = jobs.current()
    wait = stepping.step(run, node)
    if wait is not None:
        run.then(_step_message(node), key=node, delay=wait)


@actor("provisioner", changes_hardware=True)
def put_back(nodes: Nodes) -> list[NodeResult]:
    """Put back what is armed of nodes whose provisioning was aborted or died, so that they do not install themselves.

    Sent by beat when there are some. An entry has `note`.
    """
    run = jobs.current()
    return _each(nodes, lambda node: {"note": stepping.put_back(run, node)}, note=None)


@actor("provisioner")
def status(nodes: Nodes) -> list[NodeResult]:
    """The latest provisioning of nodes: `{job, image, driver, state, text, since, waits_for, trouble, reason, …}`."""
    return views.status(site.current().nodes(nodes))


@actor("provisioner")
def abort(nodes: Nodes) -> list[NodeResult]:
    """Ask the provisionings of nodes to stop. Each ends in ERROR at its next look, what was armed put back.

    An entry is as `status` has it; one that is not being provisioned has state null and is ok.
    """
    names = site.current().nodes(nodes)
    records.ask_to_abort(names, time.time())
    return views.status(names)


@actor("provisioner")
def history(node: Nodes) -> list[NodeResult]:
    """How nodes came to their state: `transitions: [{time, job, event, before, after, reason}]`, oldest first."""
    return [views.history(name) for name in site.current().nodes(node)]


@actor("provisioner")
def images() -> list[dict[str, Any]]:
    """What can be installed: `{image, source, cobbler_profile, error}`, of the site file and of its Cobblers."""
    return catalogue.images()


def _step_message(node: str) -> Message[Any]:
    return step.message(node)


def _each(nodes: str, work: Callable[[str], Mapping[str, Any]], **defaults: Any) -> list[NodeResult]:
    names = site.current().nodes(nodes)
    outcomes = fanout.each(names, work, width=settings.current().fanout, run=jobs.current())
    return [outcome | {name: outcome.get(name, value) for name, value in defaults.items()} for outcome in outcomes]
