"""One organization sends as fast as it is answered; what another one sends meanwhile is joined before the flood is."""

import statistics
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.load import Load
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
#: As fast as they are answered, with as many at once as pg_net sends, until there are so many.
PER_SECOND, AT_ONCE, FLOOD = 10_000, 200, 3_000


def seconds_until_joined(bridge: httpx.Client, views: httpx.Client, number: int) -> float:
    """Post an event of another organization, and return how long it takes until a view has it."""
    key = f"other-{number}"
    row = {"id": key, "conversation_id": f"c-{key}", "organization_id": "other", "direction": "incoming"}
    began = time.monotonic()
    answer = bridge.post("/webhooks", json={"entity": "messages", "action": "insert", "data": row})
    assert answer.status_code == 202, answer.text
    eventually(lambda: views.get(f"/conversations/c-{key}").status_code == 200, within=120, every=0.02)
    return time.monotonic() - began


def joined(views: httpx.Client) -> float:
    """Return how many messages have been counted in their conversations."""
    families = text_string_to_metric_families(views.get("/metrics").text)
    wanted = ("streams_records_applied_total", {"source": "streams-contributions"})
    return sum(s.value for family in families for s in family.samples if (s.name, s.labels) == wanted)


@pytest.mark.parametrize(
    "columns", [{}, {"conversation_id": "c-flooded"}], ids=["of many conversations", "of one conversation"]
)
def test_what_comes_during_a_flood_of_another_organization_is_joined_before_the_flood_is(
    start_bridge, start_streams, columns: dict[str, Any], request: pytest.FixtureRequest
):
    bridge, worker = start_bridge(BRIDGE_LOG_LEVEL="WARNING"), start_streams()
    flooding = {"organization_id": "flooding", "direction": "incoming", **columns}
    waited: list[float] = []
    with (
        httpx.Client(base_url=bridge.url, headers=HEADERS, timeout=10, trust_env=False) as to_bridge,
        httpx.Client(base_url=worker.url, headers=HEADERS, timeout=10, trust_env=False) as to_views,
    ):
        began = time.monotonic()
        with Load(bridge.url, TOKEN, PER_SECOND, "flood", columns=flooding, at_once=AT_ONCE) as flood:
            eventually(lambda: len(flood.attempts) > FLOOD // 10, within=60)
            while len(flood.attempts) < FLOOD:
                waited.append(seconds_until_joined(to_bridge, to_views, len(waited)))
                before = joined(to_views)
            sent_s = time.monotonic() - began
        accepted = len(flood.accepted)
        eventually(lambda: joined(to_views) >= accepted + len(waited), within=120)
        joined_s = time.monotonic() - began
        # Not `accepted`: those of the other organization are counted too, and what came twice, as it was spooled late.
        whole = joined(to_views)
    print(
        f"figure: a flood {request.node.callspec.id}, {accepted} events in {sent_s:.1f} s, joined after {joined_s:.1f}"
        f" s: {len(waited)} events of another organization were joined after {statistics.median(waited):.2f} s, at most"
        f" {max(waited):.2f} s"
    )
    assert waited
    assert before < whole
    assert flood.outcomes.keys() <= {"published", "spooled"}
