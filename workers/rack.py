"""Workers of the queue `rack`: ``python -m workers NAME`` runs one, and ``dramatiq workers.rack`` works too."""

from __future__ import annotations

from workers.queues import serve

broker = serve("rack")
