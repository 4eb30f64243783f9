"""Hooks: what the engine tells of itself. Nobody needs to listen."""

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Hook(Generic[P]):
    """Calls everybody who has asked, in the order of asking, on the event loop's thread.

    Listeners are called while things happen, so they must be quick and must not fail.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        """Tell nobody."""
        self._listeners: tuple[Callable[P, None], ...] = ()

    def add(self, listener: Callable[P, None]) -> None:
        """Tell one more."""
        self._listeners = (*self._listeners, listener)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener(*args, **kwargs)
