"""Asks a process of ours, again and again, while something is waited for. Imports nothing of ours."""

import http.client
from urllib.parse import urlsplit


def look(url: str, token: str | None = None, timeout: float = 5.0) -> tuple[int, bytes] | None:
    """Return status and content of the answer, None if nobody answers within `timeout` seconds.

    Trap: each `httpx.get` loads all authorities of the machine, for 25 ms of a processor that others need.
    """
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        connection.request("GET", place.path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def shown(url: str, token: str | None = None) -> str:
    """Return what is answered with 200; raise AssertionError if nobody answers so."""
    answer = look(url, token, timeout=10)
    assert answer is not None, f"{url} does not answer"
    assert answer[0] == http.client.OK, answer
    return answer[1].decode()


def metric(url: str, token: str, beginning: str) -> float:
    """Return the sum of the metrics of a service whose lines begin so; AssertionError if it does not answer."""
    lines = shown(f"{url}/metrics", token).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(beginning))
