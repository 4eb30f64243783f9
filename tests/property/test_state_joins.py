"""Facts form a join semilattice, and what a message adds to its conversation is a projection of its facts."""

from functools import reduce
from itertools import permutations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.state import contribution as contributions
from streams.state import conversation, existence, message
from streams.state.conversation import ConversationFacts
from streams.state.message import MessageFacts
from streams.state.registers import content_order, newer
from support.events import deletes, events_of_a_conversation, events_of_a_message
from support.wire import event_of

patient = settings(suppress_health_check=[HealthCheck.too_slow])

stamps = st.integers(0, 5)
verdicts = st.builds(
    lambda deletes, rival: message.MessageFacts(deletes=deletes, rival=rival),
    st.sampled_from([[], [None], ["o"], ["o", "p"]]),
    st.none() | st.tuples(stamps, stamps, st.booleans()),
)
deleted_message, deleted_conversation = deletes("messages", ["m1"]), deletes("conversations", ["c1"])

told_of_a_message = st.one_of(
    *[events_of_a_message.map(lambda event: message.facts_of(event_of(event)))] * 4,
    deleted_message.map(lambda event: message.facts_of(event_of(event))),
    verdicts,
)
told_of_a_conversation = st.one_of(
    *[events_of_a_conversation.map(lambda event: conversation.facts_of(event_of(event)))] * 4,
    deleted_conversation.map(lambda event: conversation.facts_of(event_of(event))),
)

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
    """Null, then instants, then text, then JSON text, then lists; each by its own order."""
    exact = [5, b'"1970-01-01T00:00:00.0000051Z"']
    ascending = [
        None,
        -1,
        0,
        5,
        exact,
        "",
        "a",
        "b",
        "\uffff",
        "\U0001f600",
        b'"a"',
        b"1",
        b"{}",
        [],
        ["1"],
        ["1", "2"],
    ]
    assert sorted(ascending, key=content_order) == ascending
    for low, high in permutations(ascending, 2):
        higher = max(low, high, key=content_order)
        assert newer((1, 7, low), (1, 7, high)) == newer((1, 7, high), (1, 7, low)) == (1, 7, higher)
        assert newer((1, 8, low), (1, 7, high)) == newer((1, 7, high), (1, 8, low)) == (1, 8, low)
        assert newer((2, 7, low), (1, 8, high)) == newer((1, 8, high), (2, 7, low)) == (2, 7, low)


@given(st.permutations([("a", age) for age in ((1, 5), (3, 2), (2, 9))] + [("b", (3, 2)), ("c", (1, 1))]))
def test_holders_of_an_external_id_are_the_same_in_any_order_and_all_but_the_newest_hear_of_it(
    told: list[tuple[str, existence.Age]],
) -> None:
    holders: dict[str, existence.Age] = {}
    rivals: dict[str, existence.Rival | None] = {}
    for message_id, age in told * 2:
        holders = existence.join_holders(holders, {message_id: age})
        assert existence.join_holders(holders, {message_id: age}) == holders
        for holder, rival, known in existence.verdicts(holders, message_id):
            assert known == holders[holder]
            rivals[holder] = existence.join_rivals(rivals.get(holder), rival)
    assert holders == {"a": (3, 2), "b": (3, 2), "c": (1, 1)}
    superseded = {holder for holder, age in holders.items() if existence.is_superseded(age, rivals.get(holder))}
    assert superseded == {"a", "c"}


def test_of_too_many_holders_the_newest_are_remembered_and_the_others_still_hear() -> None:
    many = {f"m{number}": (number, 0) for number in range(existence.HOLDERS_LIMIT + 5)}
    holders = existence.join_holders({}, many)
    assert len(holders) == existence.HOLDERS_LIMIT
    assert "m0" not in holders
    again = existence.join_holders(holders, {"m0": many["m0"]})
    assert again == holders
    newest = len(many) - 1
    told = {verdict.message_id: verdict for verdict in existence.verdicts(again, "m0")}
    assert told["m0"] == ("m0", (newest, 0, True), existence.FORGOTTEN)
