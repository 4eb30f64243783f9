"""G2: tables and state topics are a function of the set of events, and it is the function that docs/design.md says."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.events import Envelope, arrivals, event_sets
from support.reference import fold
from support.topology import Topology

patient = settings(suppress_health_check=[HealthCheck.too_slow])


def agree(topology: Topology, events: list[Envelope]) -> None:
    messages, conversations, status_changes = fold(events)
    assert topology.message_states == messages
    assert topology.conversation_states == conversations
    told = {key: (change["message_id"], change["status"]) for key, change in topology.status_changes.items()}
    assert told == status_changes


@patient
@given(event_sets)
def test_events_one_by_one_in_the_order_of_their_making_give_what_the_reference_model_says(
    events: list[Envelope],
) -> None:
    topology = Topology()
    for event in events:
        topology.receive([event])
        topology.relay()
    agree(topology, events)


@patient
@given(st.data(), event_sets)
def test_any_order_any_duplication_and_any_batching_give_what_the_reference_model_says(
    data: st.DataObject, events: list[Envelope]
) -> None:
    """With the second table lagging behind the first by any amount."""
    topology = Topology()
    for batch in data.draw(arrivals(events)):
        topology.receive(batch, replayed=data.draw(st.booleans()))
        topology.relay(data.draw(st.integers(0, 8)))
    topology.relay()
    agree(topology, events)


@patient
@given(st.data(), event_sets)
def test_a_crash_at_any_point_changes_nothing(data: st.DataObject, events: list[Envelope]) -> None:
    """The tables survive, outputs after the committed positions are lost, and what follows the positions is read again.

    Such as status changes that were never told, of a message that has moved on in the table.
    """
    topology = Topology()
    order = [event for batch in data.draw(arrivals(events)) for event in batch]
    committed, processed = sorted(data.draw(st.tuples(*[st.integers(0, len(order))] * 2)))
    for event in order[:committed]:
        topology.receive([event])
    acknowledged = len(topology.between)
    for event in order[committed:processed]:
        topology.receive([event])
    del topology.between[data.draw(st.integers(acknowledged, len(topology.between))) :]
    topology.relay(data.draw(st.integers(0, 8)))
    topology.crash(back=data.draw(st.integers(0, 8)))
    topology.receive(order[committed:processed], replayed=True)
    topology.receive(order[processed:])
    topology.relay()
    agree(topology, events)
