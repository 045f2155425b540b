"""Workers of the queue `provisioner`. ``python -m workers NAME`` runs one; ``dramatiq workers.provisioner`` works."""

from __future__ import annotations

from workers.queues import serve

broker = serve("provisioner")
