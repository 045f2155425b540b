"""Only the middleware that listens to a signal is called.

Dramatiq calls every middleware for every signal, most of which do nothing: with ours, forty calls for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq.middleware import Middleware, MiddlewareError


class Hooks:
    """Mixed in before one of Dramatiq's brokers; signals and errors are dealt with as Dramatiq does."""

    middleware: list[Middleware]
    logger: Any

    def add_middleware(self, middleware: Middleware, **place: Any) -> None:
        """Append a middleware, or put it before or after another."""
        self.__dict__.pop("_listeners", None)
        super().add_middleware(middleware, **place)  # type: ignore[misc]  # a mixin: the class behind it has it

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell each listener that something is about to happen. Raises MiddlewareError when one says so."""
        for hook in self._listening(f"before_{signal}"):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                self.logger.critical("Unexpected failure in before_%s of %r.", signal, hook, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell each listener, the last one first, that something has happened."""
        for hook in reversed(self._listening(f"after_{signal}")):
            try:
                hook(self, *args, **kwargs)
            except Exception:
                self.logger.critical("Unexpected failure in after_%s of %r.", signal, hook, exc_info=True)

    def _listening(self, name: str) -> list[Callable[..., None]]:
        listeners: dict[str, list[Callable[..., None]]] = self.__dict__.setdefault("_listeners", {})
        found = listeners.get(name)
        if found is None:
            nothing = getattr(Middleware, name, None)
            found = listeners[name] = [
                getattr(each, name) for each in self.middleware if getattr(type(each), name, nothing) is not nothing
            ]
        return found
