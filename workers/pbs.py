"""Workers of the queue `pbs`: ``python -m workers NAME`` runs one, and ``dramatiq workers.pbs`` works too."""

from __future__ import annotations

from workers.queues import serve

broker = serve("pbs")
