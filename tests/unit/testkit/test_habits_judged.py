"""What the kit says to be true after each habit is what the tables say, in any order and with everything twice."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from openbsp_testkit import habits
from openbsp_testkit.habits import Episode
from openbsp_testkit.rows import Conversation, Organization, Shape, Webhook
from support.reference import fold
from support.shipped import Shipped

EPISODES: dict[str, Callable[[Conversation], Episode]] = {
    "inversion": habits.inversion,
    "ghost": habits.ghost,
    "deletion": habits.deletion,
    "scheduled": habits.scheduled,
    "reaction": lambda chat: habits.reaction(chat.outgoing()),
    "failed_download": habits.failed_download,
    "taken_back": habits.taken_back,
    "odd_instants": habits.odd_instants,
}
#: What the page says to be true afterwards, of the last message that is there.
AFTERWARDS: dict[str, dict[str, object]] = {
    "inversion": {"delivery_status": "sent"},
    "ghost": {"delivery_status": "delivered"},
    "deletion": {},
    "scheduled": {"delivery_status": "pending", "scheduled": True},
    "reaction": {"direction": "incoming"},
    "failed_download": {"delivery_status": "failed", "status_extra": {"error": '"the media could not be downloaded"'}},
    "taken_back": {"delivery_status": "sent"},
    "odd_instants": {"delivery_status": "sent"},
}
PAGE = Path(__file__).parents[3] / "docs" / "test-your-consumer.md"


def envelopes(webhooks: list[Webhook]) -> list[dict]:
    return [{"entity": one.entity, "action": one.action, "data": one.data} for one in webhooks]


def told(webhooks: list[Webhook], seed: int) -> Shipped:
    events = envelopes(webhooks) * 2
    Random(seed).shuffle(events)
    shipped = Shipped()
    for event in events:
        shipped.receive([event])
        shipped.relay()
    return shipped


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("habit", EPISODES)
def test_the_tables_have_what_is_present_and_not_what_is_absent(habit: str, shape: Shape):
    chat = Organization(shape=shape, seed=1).conversation()
    episode = EPISODES[habit](chat)
    mentioned = [message for message in episode.present if message.insert not in episode.webhooks]
    webhooks = [chat.insert, *(message.insert for message in mentioned), *episode.webhooks]
    messages, conversations, changes = fold(envelopes(webhooks))
    assert messages.keys() == {message.id for message in episode.present}
    assert not messages.keys() & {message.id for message in episode.absent}
    for message in episode.present:
        known = {name for name, value in message.row["status"].items() if value is not None}
        assert known <= messages[message.id]["status"].keys()
    for message in episode.present[-1:]:
        assert messages[message.id].items() >= AFTERWARDS[habit].items()
    if habit == "inversion":
        assert "As it was edited" in messages[episode.present[0].id]["content"]
    if habit == "reaction":
        assert conversations[chat.id]["last_message"]["message_id"] == mentioned[0].id
        assert not conversations[chat.id]["awaiting_reply"]
    for seed in range(8):
        shipped = told(webhooks, seed)
        assert shipped.message_states == messages
        assert shipped.conversation_states == conversations
        assert changes.keys() <= shipped.status_changes.keys()


@pytest.mark.parametrize("shape", Shape)
def test_an_archived_conversation_keeps_its_status_and_a_draft_is_no_activity(shape: Shape):
    chat = Organization(shape=shape, seed=1).conversation()
    before = [chat.insert, chat.incoming().insert]
    draft = habits.draft(chat)
    _, drafted, _ = fold(envelopes([*before, draft]))
    assert drafted[chat.id]["active_at"] == fold(envelopes(before))[1][chat.id]["active_at"]
    assert (drafted[chat.id]["archived"], drafted[chat.id]["awaiting_reply"]) == (False, True)
    webhooks = [*before, draft, habits.archived(chat)]
    _, archived, _ = fold(envelopes(webhooks))
    assert archived[chat.id]["status"] == drafted[chat.id]["status"]
    assert (archived[chat.id]["archived"], archived[chat.id]["awaiting_reply"]) == (True, False)
    for seed in range(8):
        assert told(webhooks, seed).conversation_states == archived


def test_each_habit_is_in_the_table_of_the_page():
    made = {
        name
        for name, function in inspect.getmembers(habits, inspect.isfunction)
        if function.__module__ == habits.__name__ and not name.startswith("_")
    }
    assert made == EPISODES.keys() | {"archived", "draft"}
    rows = re.findall(r"^\| `(\w+)\((?:chat|message)\)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(made)
