"""G2: tables and state topics are a function of the set of events, and it is the function that DESIGN 5 says."""

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
def test_reading_again_what_has_been_read_changes_nothing(data: st.DataObject, events: list[Envelope]) -> None:
    """A restart at any point: events again from any position, contributions again from any position."""
    topology = Topology()
    [order] = data.draw(arrivals(events).filter(lambda batches: len(batches) == 1))
    for _ in range(data.draw(st.integers(0, 2))):
        stop = data.draw(st.integers(0, len(order)))
        topology.receive(order[:stop], replayed=True)
        topology.relay(data.draw(st.integers(0, 8)))
        topology.forget_positions(data.draw(st.integers(0, 8)))
    topology.receive(order, replayed=True)
    topology.relay()
    agree(topology, events)
