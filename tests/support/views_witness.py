"""Asks the views of several workers all the time, and notes every answer that contradicts one before it.

What is sent only ever adds messages, so a view may never go back: not by another worker, not after a takeover.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from support.views_askers import Askers

_ALLOWED = {200, 503}


class Witness(Askers):
    """A context manager; `faults` are what was wrong, `answers` how often each status came."""

    def __init__(self, urls: Callable[[], list[str]], token: str, keys: list[str]) -> None:
        """Ask the workers that `urls` names at each moment for `keys`, and for the list of all of them."""
        self.faults: list[str] = []
        self.answers: Counter[str] = Counter()
        super().__init__(self._run, urls, token, keys, 2)
        self._shown: dict[str, int] = {}

    def _run(self, number: int) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {self.token}"}, timeout=10, trust_env=False) as client:
            turn = number
            while not self.ended.wait(0.01):
                turn += 1
                urls = self.urls()
                url = urls[turn % len(urls)]
                try:
                    if turn % 4:
                        self._key(client, url, self.keys[turn % len(self.keys)])
                    else:
                        self._list(client, url)
                except httpx.TransportError as error:
                    # A worker that was killed or stands still.
                    self._count(type(error).__name__)

    def _key(self, client: httpx.Client, url: str, key: str) -> None:
        before = self._known(key)
        answer = client.get(f"{url}/conversations/{key}")
        self._count(str(answer.status_code))
        if answer.status_code == 200:
            self._compare(url, answer.json(), before)
        elif answer.status_code == 404:
            if before:
                self._fault(f"{url}: {key} is not there after {before} of its messages were shown")
        else:
            self._refused(url, answer)

    def _list(self, client: httpx.Client, url: str) -> None:
        with self.lock:
            before = dict(self._shown)
        answer = client.get(f"{url}/conversations?limit=500")
        self._count(f"list {answer.status_code}")
        if answer.status_code != 200:
            self._refused(url, answer)
            return
        found = {item["id"]: item for item in answer.json()["conversations"]}
        if missing := before.keys() - found.keys():
            self._fault(f"{url}: a list without {sorted(missing)}")
        for key, item in found.items():
            self._compare(url, item, before.get(key, 0))

    def _compare(self, url: str, item: dict[str, Any], before: int) -> None:
        count = item["message_count"]
        if count < before:
            self._fault(f"{url}: {item['id']} went back from {before} to {count} messages")
        with self.lock:
            self._shown[item["id"]] = max(count, self._shown.get(item["id"], 0))

    def _refused(self, url: str, answer: httpx.Response) -> None:
        problem = answer.json() if answer.headers.get("content-type") == "application/problem+json" else {}
        if answer.status_code not in _ALLOWED or problem.get("reason") != "not_ready":
            self._fault(f"{url}: {answer.status_code} {answer.text[:200]}")
        elif answer.headers.get("retry-after") is None:
            self._fault(f"{url}: 503 without Retry-After")

    def _known(self, key: str) -> int:
        with self.lock:
            return self._shown.get(key, 0)

    def _count(self, what: str) -> None:
        with self.lock:
            self.answers[what] += 1

    def _fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)
