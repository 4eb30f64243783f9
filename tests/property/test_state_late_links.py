"""Whoever follows a row knows it in the end, whatever a former owner says once more, and wherever a worker dies."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro.rows import made_id
from support.join_cases import address, at, contact, conversation, opened
from support.shipped import Shipped

TOLD = [
    opened("c", 1),
    opened("d", 2),
    address(contact_id="k", extra={"name": "~Ana"}, updated_at=at(1)),
    address("777", extra={"name": "~Juan"}, updated_at=at(1)),
    contact("k", "insert", organization_id="org", name="Ana", updated_at=at(1)),
    conversation("c", contact_address="777", updated_at=at(3)),
    conversation("c", contact_address="5215", updated_at=at(4)),
    conversation("d", contact_address="777", updated_at=at(5)),
]
#: What tells whether somebody still hears of what it follows.
RENAMED = [
    contact("k", name="Ana Ruiz", updated_at=at(50)),
    address("777", extra={"name": "~Juan Ruiz"}, updated_at=at(50)),
]

steps = st.one_of(
    st.tuples(st.just("relay"), st.integers(1, 4)),
    st.tuples(st.just("say again"), st.integers(0, 40)),
    st.tuples(st.just("commit"), st.just(0)),
    st.tuples(st.just("crash"), st.just(0)),
)


class Lives(Shipped):
    """Workers that die, and former owners whose records arrive late."""

    def __init__(self) -> None:
        super().__init__()
        self._came: list[dict[str, Any]] = []
        self._committed = 0, 0
        #: What has been read is in the topic for good.
        self._was_read = 0

    def happen(self, step: str, number: int) -> None:
        match step:
            case "relay":
                self.relay(number)
            case "say again":
                if self.between:
                    self.between.append(self.between[number % len(self.between)])
            case "commit":
                self._came, self._committed = [], (self.read, len(self.between))
            case "crash":
                read, written = self._committed
                self._was_read = max(self._was_read, self.read)
                del self.between[max(written, self._was_read) :]
                self.crash(back=self.read - read)
                came, self._came = self._came, []
                for event in came:
                    self.come(event, replayed=True)

    def come(self, event: dict[str, Any], *, replayed: bool = False) -> None:
        self._came.append(event)
        self.receive([event], replayed=replayed)


def named(shipped: Shipped) -> dict[str, Any]:
    return {key: (state["contact"] or {}).get("name") for key, state in shipped.conversation_states.items()}


@given(st.permutations(TOLD), st.lists(st.lists(steps, max_size=4), min_size=len(TOLD), max_size=len(TOLD)))
def test_a_conversation_knows_its_contact_and_hears_of_it(events: list[Any], between: list[list[Any]]) -> None:
    lives = Lives()
    for event, happens in zip(events, between, strict=True):
        lives.come(event)
        for step in happens:
            lives.happen(*step)
    lives.relay()
    assert named(lives) == {"c": "Ana", "d": "~Juan"}
    for late in list(lives.between):
        lives.between.append(late)
        lives.relay()
        assert named(lives) == {"c": "Ana", "d": "~Juan"}
    lives.receive(RENAMED)
    lives.relay()
    assert named(lives) == {"c": "Ana Ruiz", "d": "~Juan Ruiz"}
    followers = [set(lives.address_row(made_id("org", "whatsapp", one)).followers) for one in ("5215", "777")]
    assert followers == [{"c"}, {"d"}]


@pytest.mark.parametrize("removed", [TOLD[2], TOLD[4]], ids=["address", "contact"])
@given(
    st.lists(st.lists(steps.filter(lambda step: step[0] != "say again"), max_size=5), min_size=2, max_size=2),
    st.booleans(),
)
def test_what_is_removed_is_known_no_more(removed: Any, between: list[list[Any]], again: bool) -> None:  # noqa: FBT001
    """And an older row that comes after the removal is what is known then."""
    older = {**removed, "data": removed["data"] | {"name": "before", "updated_at": at(0), "extra": {"name": "~before"}}}
    lives = Lives()
    lives.receive([TOLD[0], TOLD[2], TOLD[4]])
    lives.relay()
    lives.happen("commit", 0)
    events = [removed | {"removed": True}, *([older] if again else [])]
    for event, happens in zip(events, between, strict=False):
        lives.come(event)
        for step in happens:
            lives.happen(*step)
    lives.relay()
    of_contact = removed["entity"] == "contacts"
    expected = {True: "before" if again else "~Ana", False: "Ana" if again else None}[of_contact]
    assert named(lives) == {"c": expected}
