"""The test kit's rows are what OpenBSP sends, in both shapes, and what the ingress accepts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from avro import jsontext, rows
from avro.columns import ENTITIES
from openbsp_testkit.rows import Organization, Shape, Webhook
from support.documented import DocumentedEvents
from support.shipped import Shipped

START = datetime(2026, 5, 6, tzinfo=UTC)

COLUMNS = {
    "messages": "organization_id conversation_id id external_id direction agent_id contact_address service"
    " organization_address group_address thread_id content status timestamp created_at updated_at",
    "conversations": "organization_id id service organization_address contact_address group_address name extra status"
    " created_at updated_at",
    "contacts": "organization_id id name status extra created_at updated_at",
    "contacts_addresses": "organization_id service address contact_id status extra created_at updated_at",
}


def life(shape: Shape) -> list[Webhook]:
    organization = Organization(shape=shape, seed=1, start=START)
    chat = organization.conversation()
    question = chat.incoming("Is it open today?")
    answer = chat.outgoing("Until six.")
    return [
        chat.insert,
        question.insert,
        answer.insert,
        answer.receipt("sent"),
        answer.receipt("delivered"),
        question.receipt("read"),
        chat.close(),
    ]


def test_the_shape_of_the_running_code_is_always_the_whole_row():
    for webhook in life(Shape.ROWS):
        assert " ".join(webhook.data) == COLUMNS[webhook.entity]
    assert isinstance(life(Shape.ROWS)[1].data["content"]["text"], str)


def test_the_documented_shape_has_the_columns_of_the_documented_payloads():
    documented = {}
    for body in DocumentedEvents().bodies:
        envelope = jsontext.decode(body)
        direction = envelope["data"].get("direction")
        documented[envelope["entity"], envelope["action"], direction] = envelope["data"]
    # What was WhatsApp's own is no column.
    del documented["messages", "insert", "incoming"]["wa_id"], documented["messages", "insert", "incoming"]["from"]
    for webhook in life(Shape.CHANGES):
        example = documented[webhook.entity, webhook.action, webhook.data.get("direction")]
        assert webhook.data.keys() == example.keys()
        if "content" in example:
            assert isinstance(webhook.data["content"]["text"]["body"], str)


@pytest.mark.parametrize("shape", Shape)
def test_a_contact_gives_its_conversations_their_name(shape):
    shop = Organization(shape=shape, seed=1, start=START)
    chat, ana = shop.conversation(), shop.contact("Ana")
    address = ana.at(chat, "~ana")
    shipped = Shipped()

    def shows(*webhooks: Webhook) -> Any:
        for webhook in webhooks:
            envelope = jsontext.decode(webhook.body)
            entity = ENTITIES[webhook.entity]
            if webhook.action == "delete":
                envelope["data"] = rows.ids_of(entity, envelope["data"])
            else:
                assert (
                    rows.to_fields(entity, webhook.data)["id"]
                    == {"contacts": ana, "contacts_addresses": address}.get(webhook.entity, chat).id
                )
            shipped.receive([envelope])
            shipped.relay()
        return shipped.conversation_states[chat.id]["contact"]

    assert [" ".join(one.insert.data) for one in (ana, address)] == [COLUMNS["contacts"], COLUMNS["contacts_addresses"]]
    at = chat.row["contact_address"]
    assert shows(chat.insert, ana.insert, address.insert) == {"id": ana.id, "name": "Ana", "address": at}
    assert shows(ana.update(name="Ana Ruiz"))["name"] == "Ana Ruiz"
    assert shows(address.update(contact_id=None)) == {"id": None, "name": "~ana", "address": at}
    assert shows(address.update(contact_id=ana.id), ana.delete())["name"] == "~ana"
    assert shows(address.delete()) is None


@pytest.mark.parametrize("shape", Shape)
def test_every_row_is_an_event_without_oddities(shape):
    for webhook in life(shape):
        assert jsontext.decode(webhook.body) == {
            "data": webhook.data,
            "entity": webhook.entity,
            "action": webhook.action,
        }
        fields = rows.to_fields(ENTITIES[webhook.entity], webhook.data)
        assert set(fields["extra"]) <= {"extra"}
        assert fields["id"] == webhook.data["id"]


@pytest.mark.parametrize("shape", Shape)
def test_they_lead_to_the_state_that_was_told(shape):
    shipped = Shipped()
    shipped.receive([jsontext.decode(webhook.body) for webhook in life(shape)])
    shipped.relay()
    (state,) = shipped.conversation_states.values()
    assert (state["incoming_count"], state["outgoing_count"], state["unread_count"]) == (1, 1, 0)
    assert state["status"] == "closed"
    assert state["status_counts"] == {"delivered": 1}


def test_statuses_are_merged_as_openbsp_merges_them():
    message = Organization().conversation().outgoing()
    first = message.receipt("sent").data["status"]
    second = message.receipt("failed", errors=[{"code": 131047}]).data["status"]
    assert list(first) == ["pending", "sent"]
    assert first.items() < second.items()
    assert second["errors"] == [{"code": 131047}]


def test_a_webhook_does_not_change_when_its_row_does():
    message = Organization().conversation().outgoing()
    before = message.insert.body
    message.receipt("sent")
    message.row["content"]["text"] = "another"
    assert message.insert.body == before


def test_a_seed_gives_the_same_rows_and_none_gives_others():
    again = [webhook.body for webhook in Organization(seed=7, start=START).history(2, 6)]
    assert [webhook.body for webhook in Organization(seed=7, start=START).history(2, 6)] == again
    assert Organization().id != Organization().id


def test_time_goes_on_with_each_event():
    told = Organization(seed=3).history(2, 6)
    instants = [datetime.fromisoformat(webhook.data["updated_at"]) for webhook in told]
    assert instants == sorted(set(instants))
    assert len({webhook.data["id"] for webhook in told if webhook.entity == "messages"}) == 12
