"""Names of people through a real broker: before and after the conversation is known, renamed, deleted, removed."""

import pytest

from avro.rows import made_id
from support.join_cases import address, at, contact, inserted, opened
from support.join_outcome import await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.join_views import Views

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"


def chat(number: int) -> list[dict]:
    row = opened(f"c{number}", number)
    row["data"] |= {"name": None, "contact_address": f"+{number}"}
    return [row, inserted(f"m{number}", f"c{number}", "incoming", number)]


def person(number: int) -> list[dict]:
    whose = contact(f"k{number}", "insert", organization_id="org", name=f"Ana {number}", updated_at=at(1))
    extra = {"name": f"~ana{number}"}
    return [whose, address(f"+{number}", "insert", contact_id=f"k{number}", extra=extra, updated_at=at(1))]


def test_conversations_show_whom_they_are_with(contract, start_streams):
    sources = Sources(contract)
    with_names_first = [event for number in range(6) for event in person(number)]
    chats = [event for number in range(12) for event in chat(number)]
    named_later = [event for number in range(6, 12) for event in reversed(person(number))]
    renamed = [contact(f"k{number}", name=f"Eva {number}", updated_at=at(9)) for number in (0, 6)]
    deleted = [contact(f"k{number}", "delete", organization_id="org") for number in (1, 7)]

    def shows(events: list[dict]) -> None:
        await_committed(contract)
        expected = expected_of(events)
        assert outcome_of(contract).differences(expected) == []
        with Views([worker.url], TOKEN) as views:
            assert views.differences(expected) == []

    worker = start_streams(STREAMS_SESSION_TIMEOUT_S="6")
    for part in (with_names_first, chats, named_later):
        sources.send(part)
        await_committed(contract)
    events = with_names_first + chats + named_later
    shows(events)

    worker.kill()
    worker = start_streams(STREAMS_SESSION_TIMEOUT_S="6")
    sources.send(renamed + deleted)
    events += renamed + deleted
    shows(events)

    # What an operator removes is gone, and the address alone is shown; a row that comes again is found.
    sources.remove("contacts", "k3")
    sources.remove("contacts-addresses", made_id("org", "whatsapp", "+2"))
    removed = [("contacts", "k3"), ("contacts_addresses", "+2")]
    shows([one for one in events if (one["entity"], one["data"].get("id", one["data"].get("address"))) not in removed])
    sources.send([*person(2), *person(3)])
    shows(events)
    assert records(contract, "dead-letters") == []
