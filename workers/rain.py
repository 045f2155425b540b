"""Workers of the queue `rain`: ``python -m workers NAME`` runs one, and ``dramatiq workers.rain`` works too."""

from __future__ import annotations

from workers.queues import serve

broker = serve("rain")
