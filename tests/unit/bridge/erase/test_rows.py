"""Whose rows are erased, and by which webhook."""

import json

import httpx
import pytest

from avro.catalogue import DELETE
from avro.rows import made_id
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.views import Views
from bridge.http.events import RefusedError, read_event

STATE = {"contact_address": "+100", "service": "whatsapp", "organization_id": "o1"}


def test_a_contact_is_an_address_narrowed_down_by_service_and_organization():
    assert Wanted(contact="+100").has(STATE)
    assert Wanted(contact="+100", service="whatsapp", organization_id="o1").has(STATE)
    for other in (
        Wanted(),
        Wanted(contact="+200"),
        Wanted(contact="+100", service="instagram"),
        Wanted(contact="+100", organization_id="o2"),
    ):
        assert not other.has(STATE)
    assert not Wanted().has({**STATE, "contact_address": None}), "no address is nobody's"


def test_an_organization_alone_is_all_of_it_and_else_narrows_down():
    assert Wanted(organization_id="o1").organization == "o1"
    assert Wanted(organization_id="o1").has({**STATE, "contact_address": None})
    assert not Wanted(organization_id="o2").has(STATE)
    for narrower in (
        Wanted(contact="+100", organization_id="o1"),
        Wanted(messages=frozenset({"m1"}), organization_id="o1"),
        Wanted(conversations=frozenset({"c1"}), organization_id="o1"),
    ):
        assert narrower.organization is None


def test_the_webhook_deletes_and_has_ids_only():
    body = Row("messages", "m1", "o1", "c1", "wamid.1").body()
    event = read_event(body, 1, None, 100)
    assert (event.entity.name, event.action) == ("messages", DELETE)
    assert json.loads(body)["data"] == event.row
    assert event.row == {"id": "m1", "organization_id": "o1", "conversation_id": "c1", "external_id": "wamid.1"}
    assert read_event(Row("conversations", "c1", None, "c1").body(), 1, None, 100).row == {"id": "c1"}


def test_of_an_address_the_id_travels_that_cannot_be_read():
    made = made_id("o1", "whatsapp", "+100")
    body = Row("contacts_addresses", made, "o1").body()
    assert b"+100" not in body
    event = read_event(body, 1, None, 100)
    assert (event.id, event.row) == (made, {"id": made, "organization_id": "o1"})
    whole = {"organization_id": "o1", "service": "whatsapp", "address": "+100", "extra": {"name": "Ana"}}
    sent = {"entity": "contacts_addresses", "action": DELETE, "data": whole}
    assert read_event(json.dumps(sent).encode(), 1, None, 100).row == event.row
    with pytest.raises(RefusedError):
        read_event(Row("contacts_addresses", made, "o2").body(), 1, None, 100)


def test_addresses_are_found_by_their_ids_of_any_service_and_organization_or_of_one():
    key = made_id("o1", "whatsapp", "+100")
    assert Wanted(contact="+100").has_address(key)
    assert Wanted(contact="+100", service="whatsapp", organization_id="o1").has_address(key)
    assert Wanted(contact="+100").has_address(made_id("o1", "new one", "+100"), {"new one"})
    for other in (
        Wanted(),
        Wanted(contact="+200"),
        Wanted(contact="+100", service="instagram"),
        Wanted(contact="+100", organization_id="o2"),
    ):
        assert not other.has_address(key)
    assert not Wanted(contact="+100").has_address("o1")


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
