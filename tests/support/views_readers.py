"""Readers of the views as behind a load balancer: one worker after the other, and past those that do not listen."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self

import httpx


class Readers:
    """A context manager: threads that ask for keys all the time. `failed` are answers other than 200."""

    def __init__(self, urls: Callable[[], Sequence[str]], token: str, keys: Sequence[str], readers: int = 4) -> None:
        """Ask the workers that `urls` names at each moment for conversations."""
        self.answered = 0
        self.failed: Counter[str] = Counter()
        self._urls = urls
        self._token = token
        self._keys = keys
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(readers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
            for turn in itertools.count(number):
                if self._ended.wait(0.01):
                    return
                problem = self._read(client, turn)
                with self._lock:
                    self.answered += not problem
                    if problem:
                        self.failed[problem] += 1

    def _read(self, client: httpx.Client, turn: int) -> str:
        """Return why there was no answer, nothing if there was one."""
        problem = "no worker listens"
        urls = self._urls()
        for at in range(len(urls)):
            url = urls[(turn + at) % len(urls)]
            try:
                answer = client.get(f"{url}/conversations/{self._keys[turn % len(self._keys)]}")
            except httpx.ConnectError:
                continue
            except httpx.TransportError as error:
                # A kept connection that the worker closes at that moment: clients ask once more, on a new one.
                problem = repr(error)
                continue
            return "" if answer.status_code == httpx.codes.OK else f"{url}: {answer.status_code} {answer.text[:200]}"
        return problem
