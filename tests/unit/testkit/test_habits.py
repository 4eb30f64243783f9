"""What surprises consumers is what the platform does: in the order of transactions, with the rows that it leaves."""

import json
from datetime import datetime

import pytest

from openbsp_testkit import habits
from openbsp_testkit.rows import Organization, Shape, Webhook


@pytest.fixture(params=Shape)
def chat(request):
    return Organization(shape=request.param).conversation()


def statuses(webhooks: list[Webhook]) -> list[int]:
    return [len(webhook.data["status"]) for webhook in webhooks]


def test_the_transaction_that_began_first_commits_last(chat):
    insert, receipt, edit = habits.inversion(chat).webhooks
    assert edit.data["updated_at"] < receipt.data["updated_at"]
    assert statuses([insert, receipt, edit]) == [1, 2, 3]


def test_a_ghost_has_the_external_id_that_the_real_message_gets(chat):
    episode = habits.ghost(chat)
    (real,), (ghost,) = episode.present, episode.absent
    assert real.row["external_id"] == ghost.row["external_id"]
    insert, second, _, told = episode.webhooks
    assert insert.data.get("external_id") is None
    assert second.data["id"] == ghost.id
    assert (second.data["content"], second.data["status"].keys()) == ({}, {"sent"})
    assert (told.data["id"], told.data["external_id"]) == (real.id, ghost.row["external_id"])
    assert told.data["status"].keys() == {"pending", "sent", "delivered"}
    assert not any(webhook.action == "delete" for webhook in episode.webhooks)


def test_a_delete_has_the_old_row_or_ids_alone(chat):
    episode = habits.deletion(chat)
    delete = episode.webhooks[-1]
    (message,) = episode.absent
    assert (delete.action, delete.data["id"]) == ("delete", message.id)
    if chat.organization.shape is Shape.ROWS:
        assert delete.data == message.row
    else:
        assert delete.data.keys() == {"id", "organization_id", "conversation_id", "external_id"}
    assert chat.delete().data.keys() >= {"id", "organization_id"}


def test_a_scheduled_message_is_in_the_future_and_pending(chat):
    (insert,) = habits.scheduled(chat).webhooks
    assert insert.data["timestamp"] > datetime.now().astimezone().isoformat()
    assert insert.data["status"].keys() == {"pending"}


def test_a_reaction_is_a_message_of_that_kind(chat):
    message = chat.outgoing()
    (insert,) = habits.reaction(message, "").webhooks
    assert (insert.data["content"]["kind"], insert.data["content"]["text"]) == ("reaction", "")
    assert insert.data["conversation_id"] == message.row["conversation_id"]


def test_the_user_interface_archives_in_extra(chat):
    habits.draft(chat, "Hm")
    archived = habits.archived(chat)
    assert archived.data["extra"].keys() == {"draft", "archived"}
    assert archived.data.get("status") in {None, "active"}


def test_other_things_that_a_status_can_be(chat):
    _, failure = habits.failed_download(chat).webhooks
    assert list(failure.data["status"]) == ["error"]
    assert habits.taken_back(chat).webhooks[-1].data["status"]["failed"] is None


def test_every_spelling_of_an_instant_is_one(chat):
    episode = habits.odd_instants(chat)
    updates = [webhook for webhook in episode.webhooks if webhook.action == "update"]
    assert len({webhook.data["status"]["sent"] for webhook in updates}) == len(habits.SPELLINGS)


def test_bodies_have_their_keys_in_the_order_of_jsonb(chat):
    """By length, then by bytes: so the ids stand in front, where a body that is cut off still has them."""
    body = chat.outgoing("ñ").insert.body
    assert body.startswith(b'{"data": {"id": "')
    assert "ñ".encode() in body
    assert list(json.loads(body)) == ["data", "action", "entity"]
