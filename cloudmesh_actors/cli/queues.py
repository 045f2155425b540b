"""``cm-actors queues``."""

from __future__ import annotations

from cloudmesh_actors.cli.common import Json


def command(as_json: Json = False) -> None:
    """Show how many messages each queue holds, and how many workers take them.

    "set aside" are messages that no worker can read.
    """
    from collections import Counter

    from cloudmesh_actors import broker, roster
    from cloudmesh_actors.cli import output, waiting

    depths = broker.depths()
    workers = Counter(row.queue for row in roster.rows() if waiting.takes_messages(row))
    if as_json:
        rows = [{"queue": queue, **depth._asdict(), "workers": workers[queue]} for queue, depth in depths.items()]
        output.as_json(rows)
        return
    numbers = ("ready", "delayed", "running", "set aside", "workers")
    table = output.table("queue", *numbers, right=numbers)
    for queue, depth in depths.items():
        table.add_row(queue, *("-" if count is None else str(count) for count in depth), str(workers[queue]))
    output.show(table)
