"""The views over HTTP: what is answered, to whom, and what is refused how."""

import asyncio
import json
from decimal import Decimal
from urllib.parse import quote

import pytest

from avro.columns import ENTITIES
from openbsp.http.problems import TYPE
from streams.views.access import COOKIE, HOP, SYNC, cookie_value
from streams.views.read import partition, tables
from streams.views.read.partition import PartitionView, Rendered, RenderedConversations
from streams.views.refusals import REASONS
from support.gate import hold
from support.views_world import ACME, ALL, World, conversation, instant, message, partition_of

pytestmark = pytest.mark.anyio

EVERYTHING = ["/conversations/c", "/conversations/c/messages", "/messages/m", "/conversations", "/events"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world() -> World:
    """Three conversations of two organizations, each with messages."""
    world = World()
    await world.own_and_index()
    for number, (key, organization) in enumerate([("c1", "acme"), ("c2", "acme"), ("x1", "other")]):
        world.post(
            conversation(key, organization, created_at=instant(number)),
            message(f"{key}-m1", key, organization, timestamp=instant(10 * number)),
            message(f"{key}-m2", key, organization, timestamp=instant(10 * number + 1), direction="outgoing"),
        )
    await world.settle()
    return world


def assert_problem(answer, reason: str) -> dict:
    """Every refusal is a problem with a known reason, and says nothing else than that."""
    problem = answer.json()
    known = REASONS[reason]
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["reason"]) == (known.status, known.status, reason)
    assert problem["type"] == TYPE + reason
    assert problem["title"] == known.title
    assert answer.headers["cache-control"] == "no-store"
    return problem


async def ids(world: World, query: str = "", token: str = ALL) -> list[str]:
    """Return the ids of one page."""
    async with world.client(token) as client:
        answer = await client.get(f"/conversations{query}")
        assert answer.status_code == 200, answer.text
        return [found["id"] for found in answer.json()["conversations"]]


async def test_a_conversation_is_what_its_row_and_messages_say(world):
    async with world.client() as client:
        answer = await client.get("/conversations/c2")
    assert answer.status_code == 200
    assert answer.json() == {
        **dict.fromkeys(ENTITIES["conversations"].columns),
        "id": "c2",
        "organization_id": "acme",
        "service": "whatsapp",
        "organization_address": None,
        "contact_address": None,
        "group_address": None,
        "name": None,
        "contact": None,
        "status": "open",
        "created_at": instant(1),
        "updated_at": None,
        "active_at": instant(11),
        "known": True,
        "message_count": 2,
        "incoming_count": 1,
        "outgoing_count": 1,
        "internal_count": 0,
        "status_counts": {"pending": 1},
        "unread_count": 1,
        "last_message": {
            "message_id": "c2-m2",
            "direction": "outgoing",
            "type": "text",
            "kind": "text",
            "preview": "text of c2-m2",
            "timestamp": instant(11),
            "delivery_status": "pending",
        },
        "first_incoming_at": instant(10),
        "last_incoming_at": instant(10),
        "last_outgoing_at": instant(11),
        "awaiting_reply": False,
        "unanswered_count": 0,
        "first_response_seconds": 1.0,
        "reply_window_until": "2026-05-07T00:00:10Z",
        "archived": False,
        "scheduled_count": 0,
        "failed_count": 0,
        "extra": {},
    }


async def test_a_message_has_all_that_was_received_numbers_included(world):
    status = {"sent": instant(12), "errors": [{"code": 131047}], "odd": 5}
    body = '{"type":"data","data":{"n":123456789012345678901234567890.10}}'
    event = message("m", "c1", timestamp=instant(10), status=status, wa_id="w", agent_id=7)
    event["data"]["content"] = json.loads(body, parse_float=Decimal)
    world.post(event)
    await world.settle()
    async with world.client() as client:
        answer = await client.get("/messages/m")
    assert '"data":{"n":123456789012345678901234567890.10}' in answer.text
    view = answer.json()
    assert view["status"] == {"sent": instant(12), "errors": [{"code": 131047}], "odd": 5}
    assert view["sent_after_ms"] == 2000
    assert view["extra"] == {"wa_id": "w", "agent_id": 7}
    assert view["agent_id"] is None


@pytest.mark.parametrize("key", ["a/b", "é?#%2F", "..", " ", "\x00\n", "x" * 500, "wamid.HBg=+"])
async def test_ids_are_opaque(world, key):
    world.post(conversation(key), message(key, key))
    await world.settle()
    async with world.client() as client:
        for path in ("conversations", "messages"):
            answer = await client.get(f"/{path}/{quote(key, safe='').replace('.', '%2E')}")
            assert answer.status_code == 200, answer.text
            assert answer.json()["id"] == key


async def test_lists_are_ordered_by_activity_and_filtered(world):
    assert await ids(world) == ["x1", "c2", "c1"]
    assert await ids(world, "?organization_id=acme") == ["c2", "c1"]
    world.post(
        message("new", "c1", timestamp=instant(100)), conversation("c2", status="closed", updated_at=instant(50))
    )
    await world.settle()
    # Closing a conversation is no activity.
    assert await ids(world) == ["c1", "x1", "c2"]
    assert await ids(world, "?awaiting_reply=true") == ["c1"]
    assert await ids(world, "?awaiting_reply=false&status=closed") == ["c2"]
    assert await ids(world, "?status=open&organization_id=other&service=whatsapp") == ["x1"]
    assert await ids(world, "?status=open&service=instagram") == []
    assert await ids(world, f"?updated_since={instant(11)}") == ["c1", "x1", "c2"]
    assert await ids(world, f"?updated_since={instant(50)}") == ["c1"]
    assert await ids(world, "?updated_since=2026-05-06T01:00:50%2B01:00") == ["c1"]


async def test_updated_since_finds_what_became_active_and_not_what_was_read_renamed_or_closed(world):
    """As the page says, which names the event streams and the topic for the rest."""
    since = f"?updated_since={instant(50)}"
    assert await ids(world, since) == []
    receipt = message("c1-m1", "c1", status={"pending": instant(0), "read": instant(60)}, updated_at=instant(60))
    world.post(receipt | {"action": "update"})
    for key, changes in (("c1", {"name": "Renamed"}), ("c2", {"status": "closed"})):
        world.post(conversation(key, updated_at=instant(60), **changes) | {"action": "update"})
    await world.settle()
    assert await ids(world, "?status=closed") == ["c2"]
    assert await ids(world, since) == []
    world.post(message("c1-m3", "c1", timestamp=instant(61)))
    await world.settle()
    assert await ids(world, since) == ["c1"]


async def test_orphans_are_conversations_of_which_only_messages_tell(world):
    async def orphans(query: str = "", token: str = ALL) -> list[tuple[str, str | None]]:
        async with world.client(token) as client:
            answer = await client.get(f"/orphans{query}")
            assert answer.status_code == 200, answer.text
            return [(item["id"], item["organization_id"]) for item in answer.json()["orphans"]]

    async def measured() -> bool:
        async with world.client() as client:
            return "streams_orphaned_conversations 1.0\n" in (await client.get("/metrics")).text

    assert await orphans() == []
    world.post(
        message("o1", "lost-1", "acme", timestamp=instant(100)),
        message("o2", "lost-2", "other", timestamp=instant(200)),
    )
    await world.settle()
    assert await orphans() == [("lost-2", "other"), ("lost-1", "acme")]
    assert await orphans("?organization_id=acme") == [("lost-1", "acme")]
    assert await orphans(token=ACME) == [("lost-1", "acme")]
    assert await orphans("?organization_id=other", ACME) == []
    assert await orphans("?limit=1") == [("lost-2", "other")]
    world.post(conversation("lost-1", "acme"))
    await world.settle()
    assert await orphans() == [("lost-2", "other")]
    assert await measured()


async def test_lists_are_filtered_by_what_is_open_in_a_conversation(world):
    archived = {"archived": instant(500)}
    world.post(
        conversation("read", contact_address="111"),
        message("r1", "read", status={"read": instant(1)}),
        conversation("failed", contact_address="111"),
        message("f1", "failed", direction="outgoing", status={"failed": instant(1)}),
        conversation("archived", contact_address="222", extra=archived),
        message("a1", "archived", timestamp=instant(2)),
        conversation("none", "other", contact_address="222"),
    )
    await world.settle()
    assert await ids(world, "?unread=true&organization_id=acme") == ["c2", "archived", "c1"]
    assert await ids(world, "?unread=false") == ["read", "none", "failed"]
    assert await ids(world, "?unanswered=true&service=whatsapp") == ["archived", "read"]
    assert await ids(world, "?unanswered=true&archived=false") == ["read"]
    assert await ids(world, "?archived=true") == ["archived"]
    assert await ids(world, "?failed=true") == ["failed"]
    assert await ids(world, "?contact_address=111") == ["read", "failed"]
    assert await ids(world, "?contact_address=111&failed=false") == ["read"]
    assert await ids(world, "?contact_address=222") == ["archived", "none"]
    assert await ids(world, "?contact_address=222", ACME) == ["archived"]
    assert await ids(world, "?contact_address=333") == []
    world.post(
        message("f1", "failed", direction="outgoing", status={"failed": instant(1), "read": instant(3)}),
        message("r2", "read", timestamp=instant(600)),
        conversation("none", "other", contact_address="111", updated_at=instant(9)),
    )
    await world.settle()
    assert await ids(world, "?failed=true") == []
    assert await ids(world, "?unread=true&contact_address=111") == ["read"]
    assert await ids(world, "?contact_address=111") == ["read", "failed", "none"]


async def test_a_cursor_of_another_query_is_refused(world):
    async with world.client() as client:
        cursor = (await client.get("/conversations?limit=1&status=open")).json()["next_cursor"]
        same = await client.get(f"/conversations?status=open&limit=2&cursor={cursor}")
        assert [item["id"] for item in same.json()["conversations"]] == ["c2", "c1"]
        for other in (
            f"/conversations?cursor={cursor}",
            f"/conversations?status=open&unread=true&cursor={cursor}",
            f"/conversations?status=closed&cursor={cursor}",
            f"/messages?cursor={cursor}",
            f"/conversations/c1/messages?cursor={cursor}",
        ):
            problem = assert_problem(await client.get(other), "invalid_parameter")
            assert "another query" in problem["detail"]
        cursor = (await client.get("/conversations/c2/messages?limit=1")).json()["next_cursor"]
        assert (await client.get(f"/conversations/c2/messages?cursor={cursor}")).status_code == 200
        assert_problem(await client.get(f"/conversations/c1/messages?cursor={cursor}"), "invalid_parameter")


async def test_what_is_not_written_yet_is_listed_as_it_is_shown(world):
    """A list and a key never contradict each other, however long states wait to be written."""
    world.post(message("new", "c1", timestamp=instant(100)))
    await world.join_all()
    assert (await ids(world, "?awaiting_reply=true")) == ["c1"]
    async with world.client() as client:
        assert (await client.get("/conversations/c1")).json()["message_count"] == 3


async def test_pages_one_after_the_other_have_everything_once():
    world = World()
    await world.own_and_index()
    world.post(*(conversation(f"c{number:03}", created_at=instant(number % 5)) for number in range(57)))
    await world.settle()
    found, cursor = [], ""
    async with world.client() as client:
        while cursor is not None:
            answer = await client.get(f"/conversations?limit=10{cursor and '&cursor='}{cursor}")
            found += [item["id"] for item in answer.json()["conversations"]]
            cursor = answer.json()["next_cursor"]
    assert found == sorted(
        (f"c{number:03}" for number in range(57)), key=lambda key: (int(key[1:]) % 5, key), reverse=True
    )


async def test_a_removed_conversation_is_in_no_view(world):
    world.delete("conversations", "c1")
    await world.settle()
    assert await ids(world) == ["x1", "c2"]
    async with world.client() as client:
        assert_problem(await client.get("/conversations/c1"), "not_found")


async def test_an_index_made_at_the_takeover_is_the_one_that_was_kept(world):
    world.post(message("late", "c1", timestamp=instant(200)), message("y", "unknown-row", timestamp=instant(3)))
    world.delete("messages", "c2-m2")
    await world.settle()
    before = await ids(world), await ids(world, "?awaiting_reply=true"), await ids(world, "", ACME)
    world.hand_around()
    await world.own_and_index()
    assert (await ids(world), await ids(world, "?awaiting_reply=true"), await ids(world, "", ACME)) == before


async def test_changes_while_everything_is_indexed_are_not_lost(monkeypatch):
    monkeypatch.setattr("streams.views.read.partition._SLICE", 2)
    world = World(partitions=1)
    await world.own_and_index()
    world.post(*(conversation(f"c{number:03}", created_at=instant(number)) for number in range(100)))
    await world.settle()
    world.hand_around()
    # How many turns of the loop the join takes depends on the machine: the index is held after its first slices.
    go_on = hold(monkeypatch, partition)
    world.own()
    await asyncio.sleep(0)
    world.post(message("last", "c050", timestamp=instant(500)), conversation("new", created_at=instant(501)))
    world.delete("conversations", "c051")
    await world.settle()
    async with world.client() as client:
        assert not world.tables.view(0).indexed
        assert_problem(await client.get("/conversations"), "not_ready")
        assert (await client.get("/conversations/c001")).status_code == 200
        go_on.set()
        await world.tables._indexing
    found = await ids(world, "?limit=200")
    assert found[:2] == ["new", "c050"]
    assert len(found) == len(set(found)) == 100
    assert "c051" not in found


async def test_a_worker_that_cannot_index_fails(monkeypatch):
    """Else it would answer 503 for ever."""

    async def fails(_):
        raise RuntimeError

    monkeypatch.setattr(PartitionView, "index_all", fails)
    world = World()
    world.own()
    await asyncio.wait([world.tables._indexing])
    await asyncio.sleep(0)
    assert [type(error) for error in world.worker.failures] == [RuntimeError]


def test_conversations_that_were_shown_are_kept_as_far_as_there_is_room(monkeypatch):
    monkeypatch.setattr(partition, "_RENDERED", 3)
    monkeypatch.setattr(partition, "_RENDERED_BYTES", 100)
    rendered = RenderedConversations()

    def kept(*keys: str) -> list[str]:
        for key in keys:
            rendered.keep(key, Rendered(b"x" * 40, "", None))
        return [key for key in "abcdef" if rendered.get(key) is not None]

    assert kept("a", "b", "b", "b") == ["a", "b"]
    assert kept("c") == ["b", "c"], "three have more bytes than there is room for"
    rendered.drop("b")
    rendered.drop("never kept")
    assert kept("d") == ["c", "d"]
    rendered.clear()
    assert kept("e", "f") == ["e", "f"]
    for key in "abcd":
        rendered.keep(key, Rendered(b"", "", None))
    assert kept() == ["b", "c", "d"]
    rendered.keep("a", Rendered(b"x" * 101, "", None))
    assert kept() == []


async def test_long_ids_of_readers_are_not_kept(world):
    tables._hash.cache_clear()
    for length in (199, 200, 201, 60_000):
        assert world.tables.partition_of("é" * length) == partition_of("é" * length, 4)
    assert tables._hash.cache_info().currsize == 2


async def test_tags_spare_the_body_until_something_changes(world):
    async with world.client() as client:
        for path in ("/conversations/c1", "/conversations", "/conversations/c1/messages", "/messages/c1-m1"):
            answer = await client.get(path)
            tag = answer.headers["etag"]
            assert answer.headers["cache-control"] == "private, no-cache"
            for given in (tag, f'"x", W/{tag}', "*"):
                unchanged = await client.get(path, headers={"If-None-Match": given})
                assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
        world.post(message("c1-m1", "c1", timestamp=instant(0), status={"read": instant(9)}, updated_at=instant(9)))
        await world.settle()
        for path in ("/conversations/c1", "/conversations", "/conversations/c1/messages", "/messages/c1-m1"):
            tag = '"old"'
            assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


async def test_the_page_is_spared_bodies_too(world):
    """Its browser proves itself by the cookie, without the header."""
    async with world.client() as client:
        del client.headers["authorization"]
        client.cookies.set(COOKIE, cookie_value(ALL))
        tag = (await client.get("/conversations")).headers["etag"]
        assert (await client.get("/conversations", headers={"If-None-Match": tag})).status_code == 304


async def test_a_page_has_another_tag_when_one_of_its_conversations_changes(world):
    async with world.client() as client:
        tag = (await client.get("/conversations")).headers["etag"]
        world.post(conversation("c1", name="Ana", updated_at=instant(0)))
        await world.settle()
        assert (await client.get("/conversations", headers={"If-None-Match": tag})).status_code == 200


async def test_head_is_get_without_the_body(world):
    async with world.client() as client:
        for path in ("/conversations/c1", "/conversations", "/messages/c1-m1", "/healthz", "/readyz"):
            answer = await client.head(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"


async def test_the_bound_see_only_theirs(world):
    assert await ids(world, "", ACME) == ["c2", "c1"]
    assert await ids(world, "?organization_id=other", ACME) == []
    async with world.client(ACME) as client:
        for path in ("/conversations/x1", "/conversations/x1/messages", "/messages/x1-m1", "/conversations/x1/events"):
            theirs = assert_problem(await client.get(path), "not_found")
            nobodys = assert_problem(await client.get(path.replace("x1", "nope")), "not_found")
            assert theirs["detail"].replace("x1", "nope") == nobodys["detail"]
        assert (await client.get("/conversations/c1")).status_code == 200
        assert (await client.get("/messages/c1-m1")).status_code == 200


async def test_while_a_row_is_unknown_its_newest_message_says_whose_a_conversation_is(world):
    world.post(
        message("u1", "unknown", timestamp=instant(300)),
        message("n1", "nobodys", organization=None, timestamp=instant(301)),
        message("i1", "internal", direction="internal", timestamp=instant(302)),
    )
    await world.settle()
    assert await ids(world, "?limit=3") == ["nobodys", "unknown", "x1"]
    assert await ids(world, "", ACME) == ["unknown", "c2", "c1", "internal"]
    async with world.client(ACME) as client:
        assert (await client.get("/conversations/unknown")).json()["known"] is False
        assert (await client.get("/messages/u1")).status_code == 200
        for path in ("/conversations/nobodys", "/messages/n1"):
            assert_problem(await client.get(path), "not_found")
    world.post(conversation("unknown", "other"))
    await world.settle()
    async with world.client(ACME) as client:
        assert_problem(await client.get("/conversations/unknown"), "not_found")
    assert await ids(world, "", ACME) == ["c2", "c1", "internal"]


async def test_a_message_of_another_organization_is_not_shown_in_a_conversation_of_ones_own(world):
    world.post(message("stray", "c1", "other", timestamp=instant(50)))
    await world.settle()
    async with world.client(ACME) as client:
        shown = (await client.get("/conversations/c1/messages")).json()["messages"]
        assert (await client.get("/conversations/c1")).json()["message_count"] == 2
    assert [item["id"] for item in shown] == ["c1-m2", "c1-m1"]
    async with world.client() as client:
        shown = (await client.get("/conversations/c1/messages")).json()["messages"]
    assert [item["id"] for item in shown] == ["c1-m2", "c1-m1"]


@pytest.mark.parametrize("path", EVERYTHING)
async def test_nobody_gets_in_without_a_token(world, path):
    async with world.client("no-token-that-is-known") as client:
        answer = await client.get(path)
        assert_problem(answer, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        del client.headers["authorization"]
        assert_problem(await client.get(path), "unauthorized")
        for cookie in ("openbsp_views=%%%", "openbsp_views=", "other=1; openbsp_views=AAAA"):
            assert_problem(await client.get(path, headers={"Cookie": cookie}), "unauthorized")


async def test_what_needs_no_token_needs_none(world):
    async with world.client("no-token-that-is-known") as client:
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}


@pytest.mark.parametrize(
    "query",
    [
        "?nope=1",
        "?limit=0",
        "?limit=501",
        "?limit=1e2",
        "?limit=٣",
        "?limit=1&limit=2",
        "?cursor=AAAA",
        "?cursor=é",
        "?cursor=%00",
        "?awaiting_reply=yes",
        "?unread=1",
        "?archived=",
        "?updated_since=yesterday",
        "?updated_since=2026-05-06T00:00:00",
        "?after=openbsp.messages:0",
        "?after=openbsp.messages:99:0",
        "?after=openbsp.message-state:0:0",
        "?after=openbsp.messages:0:-1",
    ],
)
async def test_unusable_parameters_are_refused(world, query):
    async with world.client() as client:
        assert_problem(await client.get(f"/conversations{query}"), "invalid_parameter")


async def test_keys_and_streams_take_no_parameters_of_others(world):
    async with world.client() as client:
        for path in ("/conversations/c1?limit=1", "/messages/c1-m1?cursor=x", "/conversations/c1/messages?status=open"):
            assert_problem(await client.get(path), "invalid_parameter")
        for path in ("/conversations/c1/events?limit=1", "/events?limit=1"):
            assert_problem(await client.get(path), "invalid_parameter")


@pytest.mark.parametrize(
    "path", ["/nope", "/conversations/", "/conversations/c1/nope", "/messages/", "/%2F", "/conversations/%FF"]
)
async def test_there_is_nothing_elsewhere(world, path):
    async with world.client() as client:
        assert_problem(await client.get(path), "not_found")


async def test_other_methods_are_refused_with_those_that_are_allowed(world):
    async with world.client() as client:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            answer = await client.request(method, "/conversations/c1")
            assert_problem(answer, "method_not_allowed")
            assert answer.headers["allow"] == "GET, HEAD"


async def test_a_fault_of_the_worker_is_a_problem_too(world, monkeypatch):
    monkeypatch.setattr(world.tables.view(0).__class__, "conversation", lambda *_: 1 / 0)
    async with world.client() as client:
        assert_problem(await client.get("/conversations/c1"), "internal_error")


@pytest.mark.parametrize("path", EVERYTHING)
async def test_before_the_tables_are_there_and_after_they_are_lost_nothing_is_answered(path):
    world = World()
    async with world.client() as client:
        answer = await client.get(path)
        assert_problem(answer, "not_ready")
        assert answer.headers["retry-after"] == "1"
        assert_problem(await client.get("/readyz"), "not_ready")
        await world.own_and_index()
        world.tables.lost()
        assert_problem(await client.get(path), "not_ready")


@pytest.mark.parametrize("path", EVERYTHING)
async def test_a_worker_that_may_have_been_replaced_answers_nothing(world, path):
    world.worker.holds_lease = False
    async with world.client() as client:
        assert_problem(await client.get(path), "not_ready")
        assert_problem(await client.get("/readyz"), "not_ready")


async def test_a_partition_that_is_behind_what_its_former_owner_may_have_shown_is_not_ready():
    world = World(partitions=1)
    await world.own_and_index()
    world.post(conversation("c"))
    await world.settle()
    world.tables.lost()
    topic = world.tables.contributions_topic
    world.own()
    world.join.work.ends = {(topic, 0): 5} | {(name, 0): 0 for name in world.contract.names if name != topic}
    async with world.client() as client:
        await world.tables._indexing
        for path in ("/conversations/c", "/conversations", "/messages/m", "/events", "/readyz"):
            assert assert_problem(await client.get(path), "not_ready")["partitions"] == [0]
        await world.join.process([], [(topic, 0, 5)])
        assert (await client.get("/conversations/c")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


async def test_a_late_partition_is_not_ready_and_the_others_answer(world):
    """Its changelogs are being read. Lists have all partitions, so they wait as well."""
    mine = partition_of("c1", 4)
    late = next(number for number in range(4) if number != mine)
    elsewhere = next(key for key in map(str, range(100)) if partition_of(key, 4) == late)
    world.post(conversation("c1"))
    await world.settle()
    world.tables.lost()
    world.own({0, 1, 2, 3} - {late})
    world.worker.late = frozenset({late})
    await world.tables._indexing
    async with world.client() as client:
        assert (await client.get("/conversations/c1")).status_code == 200
        paths = [
            f"/conversations/{elsewhere}",
            f"/conversations/c1?after={world.tables.messages_topic}:{late}:0",
            "/readyz",
        ]
        for path in [*paths, "/conversations", "/events"]:
            problem = assert_problem(await client.get(path), "not_ready")
            assert problem["partitions"] == [late]
        hop = {HOP.decode(): f"{mine},{late}", SYNC.decode(): "30"}
        assert assert_problem(await client.get("/conversations", headers=hop), "not_ready")["partitions"] == [late]
        for name, count in (("owned", 4), ("ready", 3)):
            assert f"\nstreams_partitions_{name} {count}.0\n" in (await client.get("/metrics")).text


async def test_partitions_without_an_owner_are_named(world):
    world.tables.lost()
    mine = partition_of("c1", 4)
    world.own([mine])
    await world.tables._indexing
    async with world.client() as client:
        assert (await client.get("/conversations/c1")).status_code == 200
        others = sorted({0, 1, 2, 3} - {mine})
        elsewhere = next(key for key in map(str, range(100)) if partition_of(key, 4) == others[0])
        problem = assert_problem(await client.get(f"/conversations/{elsewhere}"), "not_ready")
        assert problem["partitions"] == [others[0]]
        assert_problem(await client.get("/conversations"), "not_ready")
        world.worker.others = dict.fromkeys(others, "http://127.0.0.1:9")
        problem = assert_problem(await client.get(f"/conversations/{elsewhere}"), "not_ready")
        assert problem["partitions"] == [others[0]]
        assert "does not answer" in problem["detail"]
        assert assert_problem(await client.get("/conversations"), "not_ready")["partitions"] == others
        assert_problem(await client.get("/events"), "not_ready")
    await world.views._peers.close()


@pytest.mark.parametrize("others", ["", "0,1,2,3", "nonsense"])
async def test_another_worker_that_asks_for_other_partitions_than_a_conversations_hears_nothing_of_it(world, others):
    async with world.client() as client:
        answer = await client.get("/conversations/c1/events", headers={HOP.decode(): others})
        assert assert_problem(answer, "not_ready")["partitions"] == [partition_of("c1", 4)]
    assert not world.views._streams.open


async def test_an_id_that_a_producer_wrote_to_another_partition_is_listed_with_each(world):
    """It has a state of its own there, and the same last activity."""
    for number in range(world.partitions):
        world.post(conversation("astray"))
        event = world._records.pop()
        world._records.append(event._replace(partition=number, offset=world.positions[event.topic, number]))
        world.positions[event.topic, number] += 1
    await world.settle()
    async with world.client() as client:
        listed = (await client.get("/conversations")).json()["conversations"]
        assert [one["id"] for one in listed].count("astray") == world.partitions


async def test_a_question_from_another_worker_is_never_passed_on(world):
    world.tables.lost()
    mine = partition_of("c1", 4)
    world.own([mine])
    await world.tables._indexing
    # Asking it would fail the test: there is nobody at that address, and the detail would say so.
    world.worker.others = dict.fromkeys({0, 1, 2, 3} - {mine}, "http://127.0.0.1:9")
    other = next(number for number in range(4) if number != mine)
    elsewhere = next(key for key in map(str, range(100)) if partition_of(key, 4) == other)
    async with world.client() as client:
        client.headers["openbsp-partitions"] = str(other)
        for path in (f"/conversations/{elsewhere}", f"/messages/{elsewhere}", "/conversations", "/events"):
            problem = assert_problem(await client.get(path), "not_ready")
            assert "another worker's" in problem["detail"]
