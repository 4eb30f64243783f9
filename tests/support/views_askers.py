"""Threads that ask the views of several workers all the time."""

import threading
from collections.abc import Callable, Sequence
from typing import Self


class Askers:
    """A context manager. What the threads run is told its number, and ends when `ended` is set.

    `urls` names the workers at each moment, `lock` guards what the threads share.
    """

    def __init__(
        self, run: Callable[[int], None], urls: Callable[[], Sequence[str]], token: str, keys: Sequence[str], count: int
    ) -> None:
        """Make the threads."""
        self.urls, self.token, self.keys = urls, token, keys
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self._threads:
            thread.join(60)
