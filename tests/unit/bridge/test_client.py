"""Giving events to a bridge: it is asked again while it has no room, and left alone when it refuses."""

import httpx
import pytest

from bridge.client import BridgeClient, Outcome, StoppedError

BODY = b'{"entity":"messages","action":"insert","data":{"id":"m1"}}'


def client(*answers: httpx.Response | Exception, patience_s: float = 60.0) -> tuple[BridgeClient, list[httpx.Request]]:
    requests: list[httpx.Request] = []
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    transport = httpx.MockTransport(answer)
    made = BridgeClient("http://bridge/", "the-token", patience_s=patience_s, sleep=lambda _: None, transport=transport)
    return made, requests


def test_it_is_a_webhook_like_any_other():
    made, requests = client(httpx.Response(202, json={"event_id": "e", "disposition": "spooled"}))
    assert made.send(BODY, {"openbsp-redriven": "2"}) == Outcome(
        taken=True, disposition="spooled", event_id="e", text=""
    )
    (request,) = requests
    assert (str(request.url), request.content) == ("http://bridge/webhooks", BODY)
    assert request.headers["authorization"] == "Bearer the-token"
    assert request.headers["openbsp-redriven"] == "2"


def test_while_there_is_no_room_no_bridge_or_a_body_is_too_slow_it_is_tried_again():
    made, requests = client(
        httpx.ConnectError("refused"),
        httpx.Response(503, json={"reason": "not_stored"}),
        httpx.Response(408, json={"reason": "body_timeout"}),
        httpx.Response(202, json={"event_id": "e", "disposition": "published"}),
    )
    assert made.send(BODY).taken
    assert len(requests) == 4


def test_it_waits_as_long_as_the_bridge_asks():
    made, requests = client(
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(503, headers={"Retry-After": "soon"}, json={"reason": "not_stored"}),
        httpx.Response(202, json={"event_id": "e", "disposition": "published"}),
    )
    waits: list[float] = []
    made._sleep = waits.append
    assert made.send(BODY).taken
    assert len(requests) == 3
    assert waits[0] == 7
    assert waits[1] < 7


@pytest.mark.parametrize("asked", ["86400", "9" * 400])
def test_it_does_not_wait_longer_than_its_patience_whatever_is_asked(asked: str):
    made, _ = client(httpx.Response(503, headers={"Retry-After": asked}), httpx.Response(401), patience_s=30)
    waits: list[float] = []
    made._sleep = waits.append
    with pytest.raises(StoppedError):
        made.send(BODY)
    assert max(waits) <= 30


def test_an_answer_that_is_too_deep_is_none():
    made, _ = client(httpx.Response(202, text="[" * 100_000))
    assert not made.send(BODY).taken


def test_a_refusal_is_final():
    made, _ = client(httpx.Response(422, json={"reason": "invalid_event", "detail": "why", "event_id": "e"}))
    assert made.send(BODY) == Outcome(taken=False, disposition="invalid_event", event_id="e", text="why")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(401, json={"reason": "unauthorized"}), "answers 401"),
        (httpx.Response(404, text="no such page"), "answers 404"),
        (httpx.Response(503, text="no room"), "answers 503"),
        (httpx.ConnectError("refused"), "cannot be reached: ConnectError"),
    ],
)
def test_where_nothing_can_be_sent_it_stops_and_says_why(answer, why):
    made, _ = client(answer, patience_s=0)
    with pytest.raises(StoppedError, match=why):
        made.send(BODY)


def test_an_answer_of_something_else_than_a_bridge_is_not_taken_for_a_receipt():
    made, _ = client(httpx.Response(202, text="accepted"))
    assert not made.send(BODY).taken
