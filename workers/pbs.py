"""Workers of the queue `pbs`. ``python -m workers NAME`` runs one; ``dramatiq workers.pbs`` works."""

from __future__ import annotations

from workers.queues import serve

broker = serve("pbs")
