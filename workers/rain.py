"""Workers of the queue `rain`. ``python -m workers NAME`` runs one; ``dramatiq workers.rain`` works."""

from __future__ import annotations

from workers.queues import serve

broker = serve("rain")
