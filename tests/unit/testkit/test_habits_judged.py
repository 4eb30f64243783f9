"""What the kit says to be true after each habit is what the tables say, in any order and with everything twice."""

from collections.abc import Callable
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
    for seed in range(8):
        shipped = told(webhooks, seed)
        assert shipped.message_states == messages
        assert shipped.conversation_states == conversations
        assert changes.keys() <= shipped.status_changes.keys()
