"""Workers of the queue `launcher`: ``python -m workers NAME`` runs one, and ``dramatiq workers.launcher`` works too."""

from __future__ import annotations

from workers.queues import serve

broker = serve("launcher")
