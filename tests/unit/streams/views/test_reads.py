"""Reads of what is kept are answered without a parser, and exactly as those that go through the routes."""

import asyncio
import random
from typing import Self

import pytest

from openbsp.http.tokens.token_set import TokenSet, token_of
from streams.views.http.protocol import ReadProtocol
from streams.views.read import pages
from streams.views.read.pages import Page, PageKey, Pages
from support.parsed import parsed_by
from support.views_server import Running, answer, running, until
from support.views_world import ACME, ALL, World, conversation, instant, message

pytestmark = pytest.mark.anyio

LIST = "/conversations?organization_id=acme&status=open&limit=10"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    return parsed_by(ReadProtocol, monkeypatch)


def get(path: str, *headers: str, token: str = ALL, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *headers, "", ""]
    return "\r\n".join(lines).encode()


class Client:
    """Asks over one connection."""

    def __init__(self, server: Running) -> None:
        self._server = server

    async def __aenter__(self) -> Self:
        self._reader, self.writer = await self._server.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = await answer(self._reader)
        headers.pop("date")
        return status, headers, body


@pytest.mark.parametrize("path", ["/conversations/c", LIST, "/conversations"])
async def test_the_second_of_two_alike_is_not_parsed_and_answered_alike(path, parsed):
    async with running() as server, Client(server) as client:
        first = await client.ask(get(path))
        assert first[0] == 200
        # By another client as well: what is known is the server's.
        async with Client(server) as other:
            assert [await each.ask(get(path)) for each in (client, other)] == [first, first]
        assert parsed == [get(path)]
        async with server.world.client() as direct:
            text = (await direct.get("/metrics")).text
        endpoint = "/conversations" if "?" in path or path.count("/") == 1 else "/conversations/{conversation_id}"
        assert f'streams_requests_total{{endpoint="{endpoint}",status="200"}} 3.0' in text
        assert f'streams_request_seconds_count{{endpoint="{endpoint}"}} 3.0' in text


async def test_what_is_not_kept_is_not_parsed_either_unless_it_takes_long_to_count(parsed):
    async with running() as server, Client(server) as client:
        server.world.post(conversation("short"), *(message(f"m{number}", "long") for number in range(250)))
        await server.world.settle()
        server.world.tables.lost()
        await server.world.own_and_index()
        known, short, long = (get(f"/conversations/{one}") for one in ("c", "short", "long"))
        await client.ask(known)
        for _ in range(2):
            assert (await client.ask(short))[0] == 200
            status, _, body = await client.ask(long)
            assert status == 200
            assert b'"message_count":250' in body
        assert parsed == [known, long]


async def test_a_message_is_answered_as_by_its_route_to_who_may_see_it(parsed):
    async with running() as server, Client(server) as client:
        server.world.post(message("m", "c"), message("theirs", "d", "other"))
        await server.world.settle()
        mine, theirs, none = (get(f"/messages/{key}", token=ACME) for key in ("m", "theirs", "none"))
        first = await client.ask(mine)
        assert first[0] == 200
        assert await client.ask(mine) == first
        assert parsed == [mine]
        assert (await client.ask(theirs))[0] == (await client.ask(none))[0] == 404
        async with server.world.client() as direct:
            text = (await direct.get("/metrics")).text
        assert 'streams_requests_total{endpoint="/messages/{message_id}",status="200"} 2.0' in text
        server.world.delete("messages", "m")
        await server.world.settle()
        assert (await client.ask(mine))[0] == 404


async def test_an_error_of_the_store_is_answered_by_the_route(parsed, monkeypatch):
    def broken(_: bytes) -> bytes:
        raise OSError("a disk")

    async with running() as server, Client(server) as client:
        server.world.post(conversation("d"), message("m", "d"))
        await server.world.settle()
        first, second = get("/conversations/c"), get("/conversations/d")
        await client.ask(first)
        for task in server.world.join.conversations.values():
            monkeypatch.setattr(task.rows, "get", broken)
        assert (await client.ask(second))[0] == 500
        assert parsed == [first, second]


async def test_a_change_is_in_the_next_answer():
    async with running() as server, Client(server) as client:
        for path in ("/conversations/c", LIST):
            for second in range(3):
                name = f"{len(path)} {second}"
                server.world.post(conversation("c", name=name, updated_at=instant(60 * len(path) + second)))
                await server.world.settle()
                for _ in range(3):
                    _, headers, body = await client.ask(get(path))
                    assert f'"name":"{name}"' in body.decode()
                    async with server.world.client() as direct:
                        assert (await direct.get(path)).content == body
                        assert (await direct.get(path)).headers["etag"] == headers["etag"]


async def test_a_token_sees_its_own_under_a_known_head_and_nothing_once_it_is_revoked():
    async with running() as server, Client(server) as client:
        world = server.world
        world.post(conversation("x", "other"))
        await world.settle()
        for token, seen in ((ALL, (200, 200)), (ACME, (200, 404))):
            for _ in range(3):
                asked = [(await client.ask(get(f"/conversations/{key}", token=token)))[0] for key in "cx"]
                assert tuple(asked) == seen
                listed = (await client.ask(get("/conversations", token=token)))[2]
                assert (b'"id":"x"' in listed) == (token == ALL)
        world.views.access._source.current = TokenSet([token_of("all", ALL)])
        for path in ("/conversations/c", "/conversations"):
            assert (await client.ask(get(path, token=ACME)))[0] == 401
            assert (await client.ask(get(path)))[0] == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda world: setattr(world.worker, "holds_lease", False), 503),
        (lambda world: world.tables.lost(), 503),
        (lambda world: world.hand_around(), 503),
    ],
)
async def test_nothing_kept_is_shown_once_the_worker_may_not_answer(change, status):
    async with running() as server, Client(server) as client:
        for path in ("/conversations/c", "/conversations"):
            for _ in range(2):
                assert (await client.ask(get(path)))[0] == 200
        change(server.world)
        for path in ("/conversations/c", "/conversations"):
            assert (await client.ask(get(path)))[0] == status


async def test_another_request_is_parsed_and_answered_as_ever(parsed):
    """Each is sent after the plain one is known, and the plain one again after it, on the same connection."""
    plain = get("/conversations/c")
    async with running() as server, Client(server) as client:
        known = await client.ask(plain)
        tag = known[1]["etag"]
        others = {
            get("/conversations/c", "Connection: keep-alive"): 200,
            get("/conversations/%63"): 200,
            get("/conversations/c?limit=1"): 400,
            get("/conversations/absent"): 404,
            get("/conversations?limit=0"): 400,
            get("/conversations/c", method="POST"): 405,
            get("/conversations/c", token="not-a-token-of-anybody"): 401,
            b"GET /conversations/c HTTP/1.1\r\nHost: x\r\n\r\n": 401,
            get("/conversations/c", "Content-Length: 5") + b"hello": 200,
            get("/conversations/c", f"If-None-Match: {tag.replace('a', 'b')}x"): 200,
            b"\r\n" + plain: 200,
        }
        for request, status in others.items():
            assert (await client.ask(request))[0] == status, request
            parsed.clear()
            assert await client.ask(plain) == known
            assert parsed == []
            assert (await client.ask(request))[0] == status, request


async def test_a_condition_under_a_known_path_is_met():
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(get("/conversations/c"))
        tag = (await answer(reader))[1]["etag"]
        for _ in range(2):
            writer.write(get("/conversations/c", f"If-None-Match: {tag}"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 304 ")
            writer.write(get("/conversations/c", method="HEAD"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_requests_in_pieces_and_several_at_once_are_answered_in_order():
    async with running() as server, Client(server) as client:
        plain, listed = get("/conversations/c"), get(LIST)
        expected = [await client.ask(plain), await client.ask(listed)]
        client.writer.write(plain[:20])
        await until(lambda: server.has_read(20))
        client.writer.write(plain[20:])
        assert await client.answer() == expected[0]
        client.writer.write(plain + listed + plain)
        assert [await client.answer() for _ in range(3)] == [*expected, expected[0]]
        assert await client.ask(listed) == expected[1]


async def test_heads_that_ask_for_an_upgrade_are_never_known(parsed):
    async with running() as server:
        for _ in range(2):
            reader, writer = await server.connect()
            writer.write(get("/conversations/c", "Connection: upgrade", "Upgrade: h2c"))
            assert (await answer(reader))[0] == 200
            assert len(parsed) == 1
            parsed.clear()
            writer.close()


async def test_an_idle_connection_is_closed_in_time_after_reads_without_a_parser():
    async with running() as server, Client(server) as client:
        for _ in range(3):
            await client.ask(get("/conversations/c"))
        (connection,) = server.state.connections
        server.pass_time(3600)
        assert not connection.transport.is_closing()
        connection.idle_since -= 61
        connection._look_whether_idle()
        assert connection.transport.is_closing()


async def test_a_process_that_ends_ends_its_connections_with_the_next_read():
    async with running() as server, Client(server) as client:
        for _ in range(2):
            assert "connection" not in (await client.ask(get("/conversations/c")))[1]
        draining = asyncio.create_task(server.server.drain())
        await until(lambda: server.connections.ending)
        assert (await client.ask(get("/conversations/c")))[1]["connection"] == "close"
        await draining


async def test_known_heads_are_bounded(monkeypatch):
    monkeypatch.setattr("openbsp.http.fast_path._MOST_HEADS", 3)
    async with running() as server, Client(server) as client:
        known = server.world.views.app.reads.known_heads
        for number in range(10):
            await client.ask(get("/conversations/c", f"X-Number: {number}"))
            assert len(known) <= 3
        assert known
        before = dict(known)
        await client.ask(get("/conversations/c", "X-Other: 1", token="not-a-token-of-anybody"))
        await client.ask(get("/conversations/c", f"X-Long: {'x' * 2048}"))
        assert known == before


async def test_a_kept_page_is_what_would_be_made_whatever_has_happened():
    """Rows, messages, deletions, other organizations, other statuses, in any order; read between all of them."""
    chance = random.Random(3)
    world = World()
    await world.own_and_index()
    queries = ["", "?organization_id=acme", "?organization_id=other&status=open", "?status=closed&limit=2"]
    queries += [
        "?awaiting_reply=true",
        "?contact_address=7&organization_id=acme",
        "?updated_since=2026-05-06T00:01:00Z",
    ]
    kept = 0
    async with world.client() as everything, world.client(ACME) as acme:
        for step in range(60):
            key = f"c{chance.randrange(8)}"
            organization = chance.choice(["acme", "other", "third"])
            match chance.randrange(6):
                case 0 | 1:
                    columns = {"status": chance.choice(["open", "closed"]), "contact_address": chance.choice("78")}
                    world.post(conversation(key, organization, updated_at=instant(step), **columns))
                case 2 | 3:
                    world.post(message(f"m{step}", key, organization, timestamp=instant(step)))
                case 4:
                    world.delete("conversations", key)
            await chance.choice([world.settle, world.join_all])()
            for client in (everything, acme):
                path = "/conversations" + chance.choice(queries)
                found = await client.get(path)
                kept_before = len(world.tables.pages._kept)
                world.tables.pages.clear()
                made = await client.get(path)
                kept += kept_before > len(world.tables.pages._kept)
                assert [found.content, found.headers["etag"]] == [made.content, made.headers["etag"]]
                for query in queries:
                    await client.get("/conversations" + query)
    assert kept


def test_pages_together_take_so_much_and_no_more(monkeypatch):
    monkeypatch.setattr(pages, "_MOST_BYTES", 3_000)
    found = Pages()
    asked = [PageKey(b"/%d" % number, None) for number in range(4)]
    for each in asked:
        found.keep(each, None, Page(b"x" * 400, "tag"), found.change)
        found.get(asked[0])
    assert [found.get(each) is not None for each in asked] == [True, False, True, True]
    found.keep(PageKey(b"/" + b"x" * 4_000, None), None, Page(b"", "tag"), found.change)
    assert found._bytes == 0
    assert [found.get(each) for each in asked] == [None] * 4


def test_a_page_is_right_until_something_of_its_organizations_changes(monkeypatch):
    monkeypatch.setattr(pages, "_MOST_ORGANIZATIONS", 2)
    found = Pages()
    page = Page(b"{}", "tag")
    mine, all_ = PageKey(b"/mine", None), PageKey(b"/all", None)
    for each, organizations in ((mine, frozenset({"a"})), (all_, None)):
        found.keep(each, organizations, page, found.change)
    found.changed("b")
    assert (found.get(mine), found.get(all_)) == (page, None)
    found.changed("a")
    assert found.get(mine) is None
    found.keep(mine, frozenset({"a"}), page, found.change)
    for organization in "bcd":
        # Of so many that it is not known any more which.
        found.changed(organization)
    assert found.get(mine) is None
    found.keep(mine, frozenset({"a"}), page, found.change)
    assert found.get(mine) == page


def test_a_page_that_was_begun_before_the_partitions_were_given_up_is_not_kept():
    found = Pages()
    change = found.change
    found.clear()
    found.keep(PageKey(b"/", None), None, Page(b"{}", "tag"), change)
    assert found.get(PageKey(b"/", None)) is None
