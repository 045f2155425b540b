"""Workers of the queue `launcher`. ``python -m workers NAME`` runs one; ``dramatiq workers.launcher`` works."""

from __future__ import annotations

from workers.queues import serve

broker = serve("launcher")
