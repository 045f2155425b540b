"""Workers of the queue `rack`. ``python -m workers NAME`` runs one; ``dramatiq workers.rack`` works."""

from __future__ import annotations

from workers.queues import serve

broker = serve("rack")
