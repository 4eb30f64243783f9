"""Whose rows are erased, and by which webhook."""

import json

import httpx
import pytest

from avro.catalogue import DELETE
from bridge.erase.commands import EraseError, Views
from bridge.erase.find import Row, Wanted
from bridge.http.events import read_event

STATE = {"contact_address": "+100", "service": "whatsapp", "organization_id": "o1"}


def test_a_contact_is_an_address_narrowed_down_by_service_and_organization():
    assert Wanted(contact="+100").is_of_contact(STATE)
    assert Wanted(contact="+100", service="whatsapp", organization_id="o1").is_of_contact(STATE)
    for other in (
        Wanted(),
        Wanted(contact="+200"),
        Wanted(contact="+100", service="instagram"),
        Wanted(contact="+100", organization_id="o2"),
    ):
        assert not other.is_of_contact(STATE)
    assert not Wanted().is_of_contact({**STATE, "contact_address": None}), "no address is nobody's"


def test_the_webhook_deletes_and_has_ids_only():
    body = Row("messages", "m1", "o1", "c1", "wamid.1").body()
    event = read_event(body, 1, None, 100)
    assert (event.entity.name, event.action) == ("messages", DELETE)
    assert json.loads(body)["data"] == event.row
    assert event.row == {"id": "m1", "organization_id": "o1", "conversation_id": "c1", "external_id": "wamid.1"}
    assert read_event(Row("conversations", "c1", None, "c1").body(), 1, None, 100).row == {"id": "c1"}


@pytest.mark.parametrize(("status", "shown"), [(200, True), (404, False), (503, None), (500, None)])
def test_the_views_have_a_row_or_not_or_do_not_say(status, shown):
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(status)

    views = Views("http://views", "t", transport=httpx.MockTransport(answer))
    assert views.has(Row("messages", "a/b", None)) is shown
    assert paths == [b"/messages/a%2Fb"]
    views.close()


def test_a_token_that_is_refused_is_no_proof_that_something_is_gone():
    views = Views("http://views", "t", transport=httpx.MockTransport(lambda _: httpx.Response(401)))
    with pytest.raises(EraseError, match="answers 401"):
        views.has(Row("messages", "m1", None))
    views.close()
