"""Readers of the views as behind a load balancer: one worker after the other, and past those that do not listen."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import httpx

from support.views_askers import Askers


class Readers(Askers):
    """A context manager: threads that ask for keys all the time. `failed` are answers other than 200."""

    def __init__(self, urls: Callable[[], Sequence[str]], token: str, keys: Sequence[str]) -> None:
        """Ask the workers that `urls` names at each moment for conversations."""
        self.answered = 0
        self.failed: Counter[str] = Counter()
        super().__init__(self._run, urls, token, keys, 4)

    def _run(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
            for turn in itertools.count(number):
                if self.ended.wait(0.01):
                    return
                problem = self._read(client, turn)
                with self.lock:
                    self.answered += not problem
                    if problem:
                        self.failed[problem] += 1

    def _read(self, client: httpx.Client, turn: int) -> str:
        """Return why there was no answer, nothing if there was one."""
        problem = "no worker listens"
        urls = self.urls()
        for at in range(len(urls)):
            url = urls[(turn + at) % len(urls)]
            try:
                answer = client.get(f"{url}/conversations/{self.keys[turn % len(self.keys)]}")
            except httpx.ConnectError:
                continue
            except httpx.TransportError as error:
                # A kept connection that the worker closes at that moment: clients ask once more, on a new one.
                problem = repr(error)
                continue
            return "" if answer.status_code == httpx.codes.OK else f"{url}: {answer.status_code} {answer.text[:200]}"
        return problem
