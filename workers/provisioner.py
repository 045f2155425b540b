"""Workers of the queue `provisioner`: ``python -m workers NAME`` runs one, and ``dramatiq workers.provisioner`` works too."""

from __future__ import annotations

from workers.queues import serve

broker = serve("provisioner")
