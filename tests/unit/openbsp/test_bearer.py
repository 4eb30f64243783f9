"""A token on its way out: never in what is said of a request that failed."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from bridge.client import BridgeClient, StoppedError
from bridge.top.readings import ask
from openbsp.bearer import bearer
from openbsp.send import Payload, send


@pytest.fixture
def url() -> Iterator[str]:
    """Return the address of something that can be reached: headers are looked at once there is a connection."""
    handler = type("Quiet", (BaseHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_line_feed_of_a_file_is_no_part_of_a_token():
    assert bearer("the-token\r\n") == bearer(" the-token") == "Bearer the-token"
    assert bearer("tök") == "Bearer t\\xf6k"


@pytest.mark.parametrize("token", ["", "\n", "tök"])
def test_a_token_that_nobody_has_is_for_the_server_to_refuse(url, token):
    """Empty as well, as of a file that is not there: a header with a space at its end could not be sent."""
    with httpx.Client(base_url=url) as client:
        assert client.get("/", headers={"Authorization": bearer(token)}).status_code == 501


def test_a_token_that_cannot_be_sent_is_not_shown(url):
    token = "hush-hush\nhush"
    with BridgeClient(url, token, patience_s=0, sleep=lambda _: None) as bridge, pytest.raises(StoppedError) as stopped:
        bridge.send(b"{}")
    with httpx.Client(base_url=url) as client:
        reading = ask(client, token)

    async def sent() -> str:
        (answer,) = [answer async for answer in send([Payload("p", b"{}")], url, token)]
        return answer.text

    for said in (str(stopped.value), reading.fault, asyncio.run(sent())):
        assert said is not None
        assert "a header cannot be sent" in said
        assert "hush" not in said


def test_what_is_no_address_ends_it_with_a_sentence():
    with (
        BridgeClient("http://[::1", "t") as bridge,
        pytest.raises(StoppedError, match="not a valid address") as stopped,
    ):
        bridge.send(b"{}")
    assert stopped.value.refused
