"""Facts form a join semilattice, and what a message adds to its conversation is a projection of its facts."""

from functools import reduce
from itertools import accumulate, permutations
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from openbsp.merge import contact
from openbsp.merge.registers import UNFIT, content_order, newer
from streams.state import contribution as contributions
from streams.state import conversation, existence, followers, message
from streams.state.conversation import ConversationFacts
from streams.state.message import MessageFacts
from support.events import (
    CONVERSATION_IDS,
    Envelope,
    address_events,
    contact_events,
    deletes,
    events_of_a_conversation,
    events_of_a_message,
    told_by,
)
from support.wire import event_of

stamps = st.integers(0, 5)
holders = st.builds(existence.Holder, stamps, stamps, stamps, st.booleans())
named_rivals = st.dictionaries(st.sampled_from("ab"), st.tuples(holders, st.booleans()), max_size=2)
#: By external id, or as a former version noted the newest one.
rivals = st.dictionaries(st.sampled_from("vw"), named_rivals, max_size=2) | st.tuples(stamps, stamps, st.booleans())
verdicts = st.builds(
    lambda deletes, rivals: message.MessageFacts(deletes=deletes, rivals=rivals),
    st.sampled_from([[], [None], ["o"], ["o", "p"]]),
    st.dictionaries(st.sampled_from("op"), rivals, max_size=2),
)
#: What conversations say of their messages when they are deleted.
ends_of_conversations = st.builds(
    lambda name, deletes: message.MessageFacts(conversations={name: (*UNFIT, deletes)}),
    st.sampled_from(CONVERSATION_IDS),
    st.sampled_from([[None], ["o"], ["p"]]),
)


def by_somebody(events: st.SearchStrategy[Envelope]) -> st.SearchStrategy[Envelope]:
    """Return events, some of them of writers that may tell of some organizations only."""
    return events.flatmap(lambda event: told_by([event])).map(lambda told: told[0])


def message_facts_of(event: Envelope) -> MessageFacts:
    return message.facts_of(event_of(event), event.get("organizations"))


def conversation_facts_of(event: Envelope) -> ConversationFacts:
    return conversation.facts_of(event_of(event), event.get("organizations"))


deleted_message, deleted_conversation = deletes("messages", ["m1"]), deletes("conversations", ["c1"])

told_of_a_message = st.one_of(
    *[by_somebody(events_of_a_message).map(message_facts_of)] * 4,
    by_somebody(deleted_message).map(message_facts_of),
    verdicts,
)
told_of_a_conversation = st.one_of(
    *[by_somebody(events_of_a_conversation).map(conversation_facts_of)] * 4,
    by_somebody(deleted_conversation).map(conversation_facts_of),
)

#: What a few events say together.
message_facts = st.lists(told_of_a_message, min_size=1, max_size=3).map(lambda told: reduce(message.join, told))
#: The same, also of messages whose conversations are deleted.
all_message_facts = st.lists(told_of_a_message | ends_of_conversations, min_size=1, max_size=3).map(
    lambda told: reduce(message.join, told)
)
contact_facts = st.lists(
    by_somebody(contact_events).map(lambda event: contact.contact_facts(event_of(event), event.get("organizations"))),
    min_size=1,
    max_size=3,
).map(lambda told: reduce(contact.join_contacts, told))
address_facts = st.builds(
    lambda told, contacts: reduce(
        contact.join_addresses, [*map(contact.address_facts, told), contact.AddressFacts(contacts=contacts)]
    ),
    st.lists(address_events().map(event_of), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["k1", "k2"]), contact_facts, max_size=2),
)
told_of_addresses = st.builds(
    lambda contacts: ConversationFacts(contacts=contacts),
    st.dictionaries(st.sampled_from(["x", "y"]), address_facts, min_size=1, max_size=2),
)
conversation_facts = st.lists(told_of_a_conversation | told_of_addresses, min_size=1, max_size=3).map(
    lambda told: reduce(conversation.join, told)
)


@given(all_message_facts, all_message_facts, all_message_facts)
def test_message_facts_join_in_any_grouping_order_and_number(a: MessageFacts, b: MessageFacts, c: MessageFacts) -> None:
    join = message.join
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), b) == join(a, b)
    assert join(join(a, b), c) == join(a, join(b, c))


@given(conversation_facts, conversation_facts, conversation_facts)
def test_conversation_facts_join_in_any_grouping_order_and_number(
    a: ConversationFacts, b: ConversationFacts, c: ConversationFacts
) -> None:
    join = conversation.join
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), b) == join(a, b)
    assert join(join(a, b), c) == join(a, join(b, c))


@given(message_facts, message_facts, message_facts)
def test_contributions_join_in_any_grouping_order_and_number(a: MessageFacts, b: MessageFacts, c: MessageFacts) -> None:
    join = contributions.join
    x, y, z = (message.contribution(facts) for facts in (a, b, c))
    assert join(x, x) == x
    assert join(x, y) == join(y, x)
    assert join(join(x, y), y) == join(x, y)
    assert join(join(x, y), z) == join(x, join(y, z))


@given(message_facts, message_facts)
def test_joining_before_or_after_the_projection_is_the_same(a: MessageFacts, b: MessageFacts) -> None:
    """So a conversation that is told parts, late or twice, knows of a message what the message knows of itself."""
    joined = message.contribution(message.join(a, b))
    assert contributions.join(message.contribution(a), message.contribution(b)) == joined
    for name in CONVERSATION_IDS:
        parts = (message.contribution(facts, name) for facts in (a, b))
        assert contributions.join(*parts) == message.contribution(message.join(a, b), name)


@given(st.lists(told_of_a_message | ends_of_conversations, min_size=1, max_size=5), st.randoms())
def test_a_conversation_that_hears_late_or_twice_what_a_message_adds_knows_what_it_adds_now(
    told: list[MessageFacts], random: Random
) -> None:
    """Also when conversations are deleted in which it was: they say that to the message alone."""
    known = list(accumulate(told, message.join))
    heard = [message.contribution(facts) for facts in known]
    last = heard[-1]
    heard += random.choices(heard, k=2)
    random.shuffle(heard)
    joined = reduce(contributions.join, heard)
    assert contributions.effective(joined) == contributions.effective(last)
    whole = message.effective(known[-1])
    effective = contributions.effective(last)
    alone = message.contribution(whole)
    assert structs.replace(effective, claimed=None, stays={}) == structs.replace(alone, stays={})
    if message.exists(whole):
        assert contributions.exists(effective)


@given(all_message_facts)
def test_message_facts_and_contributions_survive_storage(facts: MessageFacts) -> None:
    assert message.decode(message.encode(facts)) == facts
    part = message.contribution(facts)
    assert contributions.decode(contributions.encode(part)) == part


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


@given(st.lists(st.tuples(st.sampled_from("abcd"), holders), min_size=1, max_size=12), st.integers(0, 6))
def test_all_holders_of_an_external_id_but_one_hear_that_they_are_superseded(
    told: list[tuple[str, existence.Holder]], again: int
) -> None:
    """Whatever becomes known of each, in whatever order; of a replay the same."""
    known: dict[str, existence.Holder] = {}
    rivals: dict[str, dict[str, existence.StoredRivals]] = {}
    for message_id, holder in told + told[-again:]:
        known = existence.join_holders(known, {message_id: holder})
        assert existence.join_holders(known, {message_id: holder}) == known
        for verdict in existence.verdicts(known, message_id):
            assert verdict.known == known[verdict.message_id]
            before = rivals.get(verdict.message_id, {})
            rivals[verdict.message_id] = existence.join_rivals(before, {"o": {"w": verdict.rivals}})
    eras = dict(zip(known, existence.eras_of(list(known.values())), strict=True))
    is_it = max(known, key=lambda key: (eras[key], known[key].age, key))
    heard = {key: rivals.get(key, {}).get("o") for key in known}
    assert [key for key in known if not existence.is_superseded(known[key], heard[key])] == [is_it]


def test_of_too_many_holders_the_newest_are_remembered_and_the_others_still_hear() -> None:
    many = {f"m{number}": existence.Holder(number, 0) for number in range(existence.HOLDERS_LIMIT + 5)}
    holders = existence.join_holders({}, many)
    assert len(holders) == existence.HOLDERS_LIMIT
    assert "m0" not in holders
    again = existence.join_holders(holders, {"m0": many["m0"]})
    assert again == holders
    newest = f"m{len(many) - 1}"
    told = {verdict.message_id: verdict for verdict in existence.verdicts(again, "m0")}
    assert told["m0"] == ("m0", {newest: (many[newest], True)}, existence.FORGOTTEN)


contact_rows = st.builds(
    contact.ContactRow,
    contact_facts,
    st.dictionaries(st.sampled_from("op"), st.lists(st.sampled_from("abc"), unique=True).map(sorted), max_size=2),
)
address_rows = st.builds(
    contact.AddressRow,
    address_facts,
    st.dictionaries(st.sampled_from(CONVERSATION_IDS), st.tuples(st.just(0), stamps), max_size=3),
)


@given(contact_rows, contact_rows, contact_rows)
def test_rows_of_contacts_join_in_any_grouping_order_and_number(
    a: contact.ContactRow, b: contact.ContactRow, c: contact.ContactRow
) -> None:
    join = followers.join_contact_rows
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), b) == join(a, b)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert contact.decode_contact_row(contact.encode(a)) == a


@given(address_rows, address_rows, address_rows)
def test_rows_of_addresses_join_in_any_grouping_order_and_number(
    a: contact.AddressRow, b: contact.AddressRow, c: contact.AddressRow
) -> None:
    join = followers.join_address_rows
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(join(a, b), b) == join(a, b)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert contact.decode_address_row(contact.encode(a)) == a
