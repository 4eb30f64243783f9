"""Facts form a join semilattice, and what a message adds to its conversation is a projection of its facts."""

from functools import reduce
from itertools import permutations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.state import contribution as contributions
from streams.state import conversation, message
from streams.state.conversation import ConversationFacts
from streams.state.message import MessageFacts
from streams.state.registers import content_order, newer
from support.events import events_of_a_conversation, events_of_a_message
from support.wire import event_of

patient = settings(suppress_health_check=[HealthCheck.too_slow])

told_of_a_message = events_of_a_message.map(lambda event: message.facts_of(event_of(event)))
told_of_a_conversation = events_of_a_conversation.map(lambda event: conversation.facts_of(event_of(event)))

#: What a few events say together.
message_facts = st.lists(told_of_a_message, min_size=1, max_size=3).map(lambda told: reduce(message.join, told))
conversation_facts = st.lists(told_of_a_conversation, min_size=1, max_size=3).map(
    lambda told: reduce(conversation.join, told)
)


@patient
@given(message_facts, message_facts, message_facts)
def test_message_facts_join_in_any_grouping_order_and_number(a: MessageFacts, b: MessageFacts, c: MessageFacts) -> None:
    join = message.join
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), b) == join(a, b)
    assert join(join(a, b), c) == join(a, join(b, c))


@patient
@given(conversation_facts, conversation_facts, conversation_facts)
def test_conversation_facts_join_in_any_grouping_order_and_number(
    a: ConversationFacts, b: ConversationFacts, c: ConversationFacts
) -> None:
    join = conversation.join
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), b) == join(a, b)
    assert join(join(a, b), c) == join(a, join(b, c))


@patient
@given(message_facts, message_facts, message_facts)
def test_contributions_join_in_any_grouping_order_and_number(a: MessageFacts, b: MessageFacts, c: MessageFacts) -> None:
    join = contributions.join
    x, y, z = (message.contribution(facts) for facts in (a, b, c))
    assert join(x, x) == x
    assert join(x, y) == join(y, x)
    assert join(join(x, y), y) == join(x, y)
    assert join(join(x, y), z) == join(x, join(y, z))


@patient
@given(message_facts, message_facts)
def test_joining_before_or_after_the_projection_is_the_same(a: MessageFacts, b: MessageFacts) -> None:
    """So a conversation that is told parts, late or twice, knows of a message what the message knows of itself."""
    joined = message.contribution(message.join(a, b))
    assert contributions.join(message.contribution(a), message.contribution(b)) == joined


@patient
@given(message_facts)
def test_message_facts_and_contributions_survive_storage(facts: MessageFacts) -> None:
    assert message.decode(message.encode(facts)) == facts
    part = message.contribution(facts)
    assert contributions.decode(contributions.encode(part)) == part


@patient
@given(conversation_facts)
def test_conversation_facts_survive_storage(facts: ConversationFacts) -> None:
    assert conversation.decode(conversation.encode(facts)) == facts


@given(st.lists(told_of_a_message, min_size=2, max_size=4))
def test_facts_do_not_change_once_they_are_made(told: list[MessageFacts]) -> None:
    """The worker keeps them in caches: a join must not write into what it joins."""
    before = [message.encode(facts) for facts in told]
    joined = reduce(message.join, told)
    message.state("m", joined)
    message.join(joined, told[0])
    assert [message.encode(facts) for facts in told] == before


def test_of_equal_versions_the_larger_value_wins_in_the_documented_order() -> None:
    """Null, then instants, then text, then JSON text; each by its own order."""
    ascending = [None, -1, 0, 5, "", "a", "b", "\uffff", "\U0001f600", b'"a"', b"1", b"{}"]
    assert sorted(ascending, key=content_order) == ascending
    for low, high in permutations(ascending, 2):
        higher = max(low, high, key=content_order)
        assert newer((7, low), (7, high)) == newer((7, high), (7, low)) == (7, higher)
        assert newer((8, low), (7, high)) == newer((7, high), (8, low)) == (8, low)
