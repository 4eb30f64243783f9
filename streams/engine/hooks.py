"""Hooks: the engine's events. They work without subscribers."""

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Hook(Generic[P]):
    """Calls all subscribers, in the order of subscription, on the event loop's thread.

    They are called while things happen, so they must be quick and must not fail.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        """Start without subscribers."""
        self._listeners: tuple[Callable[P, None], ...] = ()

    def add(self, listener: Callable[P, None]) -> None:
        """Add a subscriber."""
        self._listeners = (*self._listeners, listener)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all subscribers."""
        for listener in self._listeners:
            listener(*args, **kwargs)
