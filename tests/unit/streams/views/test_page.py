"""The live page: how its files are served, and how one signs in with a cookie."""

import json
import logging
import re
from pathlib import Path

import httpx
import pytest

from bridge.reconcile.report import Report
from bridge.reconcile.signing import Audit
from openbsp.errors import TopicsError
from openbsp.up.page import page_link
from streams.views.http import page, session
from streams.views.http.session import ATTEMPTS, LIFETIME_S, MOST_BYTES, REFILL_S, Attempts
from support.views_world import ACME, ALL, URL, World, conversation

pytestmark = pytest.mark.anyio

FILES = sorted(path for path in Path(page.__file__).parent.iterdir() if path.suffix in {".html", ".css", ".js", ".svg"})
STATIC = [path.name for path in FILES if path.suffix != ".html"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world() -> World:
    world = World()
    await world.own_and_index()
    world.post(conversation("c1"), conversation("x1", "other"))
    await world.settle()
    return world


@pytest.fixture
async def browser(world):
    """Make a client that has no token and keeps cookies."""
    async with world.client() as client:
        del client.headers["authorization"]
        yield client


def assert_problem(answer, status: int, reason: str) -> None:
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/", *(f"/static/{name}" for name in STATIC)])
async def test_the_files_need_no_token_and_may_load_nothing_from_elsewhere(browser, path):
    answer = await browser.get(path)
    assert answer.status_code == 200
    policy = dict(item.split(" ", 1) for item in answer.headers["content-security-policy"].split("; "))
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert set(policy.values()) <= {"'none'", "'self'"}
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert policy[name] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


async def test_each_file_has_its_type(browser):
    types = {name: (await browser.get(f"/static/{name}")).headers["content-type"] for name in STATIC}
    assert set(types.values()) == {"text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml"}
    assert types["page.css"].startswith("text/css")
    assert (await browser.get("/")).headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/static/main.js"])
async def test_unchanged_files_are_not_sent_again(browser, path):
    first = await browser.get(path)
    again = await browser.get(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-security-policy" in again.headers
    assert (await browser.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await browser.head(path)).headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize("name", ["nope.js", "index.html", "files.py", "__init__.py", "%2E%2E%2Faccess.py", ""])
async def test_nothing_else_is_served(browser, name):
    assert (await browser.get(f"/static/{name}")).status_code == 404


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_name_no_other_host_and_make_no_markup_of_text(path):
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function| style=", text)
    assert not re.search(r"\son[a-z]+=", text) or path.suffix == ".js"


async def test_the_page_refers_only_to_files_that_are_there(browser):
    html = (await browser.get("/")).text
    scripts = "".join(path.read_text("utf-8") for path in FILES if path.suffix == ".js")
    named = re.findall(r'(?:href|src)="/static/([^"]+)"', html) + re.findall(r' from "\./([^"]+)"', scripts)
    assert set(named) == set(STATIC)


async def test_a_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(browser):
    assert (await browser.get("/session")).json() == {"reader": None}
    assert (await browser.get("/conversations")).status_code == 401
    answer = await browser.post("/session", json={"token": ALL})
    assert (answer.status_code, answer.json()) == (200, {"reader": {"name": "all", "organizations": None}})
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    assert ALL not in cookie
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "samesite=strict", "path=/", f"max-age={LIFETIME_S}"}
    assert (await browser.get("/session")).json()["reader"]["name"] == "all"
    assert len((await browser.get("/conversations")).json()["conversations"]) == 2


async def test_over_https_the_cookie_is_for_https_only(browser):
    answer = await browser.post(f"https{URL.removeprefix('http')}/session", json={"token": ALL})
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_every_worker_accepts_the_cookie(browser):
    await browser.post("/session", json={"token": ALL})
    other = World()
    await other.own_and_index()
    async with other.client() as client:
        del client.headers["authorization"]
        client.cookies = browser.cookies
        assert (await client.get("/session")).json()["reader"]["name"] == "all"


async def test_who_is_bound_to_organizations_stays_so(browser):
    answer = await browser.post("/session", json={"token": ACME})
    assert answer.json() == {"reader": {"name": "acme", "organizations": ["acme"]}}
    assert [found["id"] for found in (await browser.get("/conversations")).json()["conversations"]] == ["c1"]
    assert (await browser.get("/conversations/x1")).status_code == 404


async def test_signing_out_forgets_the_cookie(browser):
    await browser.post("/session", json={"token": ALL})
    answer = await browser.delete("/session")
    assert answer.status_code == 204
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert (await browser.get("/conversations")).status_code == 401
    assert (await browser.get("/session")).json() == {"reader": None}


async def test_a_wrong_token_is_refused_and_is_in_no_log(browser, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = "a-token-that-nobody-gave-out"
    assert_problem(await browser.post("/session", json={"token": wrong}), 401, "unauthorized")
    assert "refused" in caplog.text
    await browser.post("/session", json={"token": ALL})
    assert wrong not in caplog.text
    assert ALL not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://[views"},
        {"Origin": f"{URL}.example"},
    ],
)
async def test_pages_of_other_sites_cannot_sign_anybody_in_or_out(browser, headers):
    assert_problem(await browser.post("/session", json={"token": ALL}, headers=headers), 403, "cross_site")
    assert_problem(await browser.delete("/session", headers=headers), 403, "cross_site")


async def test_the_page_itself_can_behind_a_proxy_for_https_too(browser):
    for origin in (URL, URL.replace("http", "https")):
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": origin}
        assert (await browser.post("/session", json={"token": ALL}, headers=headers)).status_code == 200


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_could_send_is_refused(browser, media_type):
    answer = await browser.post(
        "/session", content=json.dumps({"token": ALL}), headers={"Content-Type": media_type, "Host": "127.0.0.1:1"}
    )
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"token":1}', b'{"token":"x","more":1}', b'"\xff"'])
async def test_what_is_no_sign_in_is_refused(browser, body):
    answer = await browser.post("/session", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "malformed_session")


async def test_a_body_that_is_too_large_is_not_read_to_its_end(browser):
    read = 0

    async def pieces():
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 1024

    answer = await browser.post("/session", content=pieces(), headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "too_large")
    assert read <= MOST_BYTES // 1024 + 2


async def test_after_many_wrong_tokens_an_address_has_to_wait_but_a_right_one_comes_in(browser):
    """Behind a proxy everybody has the same address."""
    for _ in range(ATTEMPTS):
        assert_problem(await browser.post("/session", json={"token": "wrong"}), 401, "unauthorized")
    answer = await browser.post("/session", json={"token": "wrong"})
    assert_problem(answer, 429, "too_many_attempts")
    assert 1 <= int(answer.headers["retry-after"]) <= REFILL_S + 1
    assert (await browser.post("/session", json={"token": ALL})).status_code == 200


def test_attempts_come_back_one_by_one():
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(ATTEMPTS):
        assert attempts.wait_s("a") == 0
        attempts.failed("a")
    assert attempts.wait_s("a") == REFILL_S
    assert attempts.wait_s("b") == 0
    now = REFILL_S
    assert attempts.wait_s("a") == 0
    attempts.failed("a")
    assert attempts.wait_s("a") == REFILL_S
    now = 1e6
    for _ in range(ATTEMPTS):
        assert attempts.wait_s("a") == 0
        attempts.failed("a")
    assert attempts.wait_s("a") == REFILL_S


def test_only_so_many_addresses_are_remembered(monkeypatch):
    monkeypatch.setattr(session, "_ADDRESSES", 3)
    attempts = Attempts(lambda: 0.0)
    for address in ("a", "a", "b", "c", "a", "d"):
        attempts.failed(address)
    assert list(attempts._whole_at) == ["c", "a", "d"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(browser, method):
    answer = await browser.request(method, "/session")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, POST"


BRIDGE_METRICS = """# HELP bridge_spool_events Events in the spool.
# TYPE bridge_spool_events gauge
bridge_spool_events 3.0
# TYPE bridge_spool_bytes gauge
bridge_spool_bytes 4096.0
# TYPE bridge_spool_oldest_seconds gauge
bridge_spool_oldest_seconds 12.5
# TYPE bridge_dead_letters counter
bridge_dead_letters_total{reason="invalid_event"} 2.0
bridge_dead_letters_total{reason="unsupported_entity"} 1.0
"""


class FakeBridge:
    """Answers as told, and keeps what it was asked."""

    def __init__(self, status: int = 200, text: str = BRIDGE_METRICS) -> None:
        self.status, self.text = status, text
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.status == 0:
            raise httpx.ConnectTimeout("no answer")
        return httpx.Response(self.status, text=self.text, headers={"Location": "http://elsewhere.example/"})


async def asked_of(bridge: FakeBridge, token: str = ALL, times: int = 1) -> httpx.Response:
    """Ask a worker that knows of the bridge."""
    world = World(bridge_url="http://bridge.example/", bridge_token="token-for-bridge")
    pipeline = world.views._pipeline
    pipeline.__dict__["_client"] = httpx.AsyncClient(
        transport=httpx.MockTransport(bridge), headers=pipeline._client.headers, follow_redirects=False
    )
    async with world.client(token) as client:
        for _ in range(times):
            answer = await client.get("/pipeline")
    await world.views.close()
    return answer


async def test_the_page_is_told_how_the_bridge_is(world):
    bridge = FakeBridge()
    answer = await asked_of(bridge, times=3)
    assert answer.json() == {
        "bridge": {
            "answers": True,
            "spool_events": 3,
            "spool_bytes": 4096,
            "spool_oldest_seconds": 12.5,
            "dead_letters": 3,
        },
        "completeness": None,
    }
    (request,) = bridge.requests
    assert str(request.url) == "http://bridge.example/metrics"
    assert request.headers["authorization"] == "Bearer token-for-bridge"
    async with world.client() as client:
        assert (await client.get("/pipeline")).json() == {"bridge": None, "completeness": None}


@pytest.mark.parametrize(
    "bridge",
    [
        FakeBridge(0),
        FakeBridge(401),
        FakeBridge(302),
        FakeBridge(text="<html>"),
        FakeBridge(text="a 1\n"),
        FakeBridge(text=BRIDGE_METRICS.replace("4096.0", "+Inf")),
    ],
)
async def test_whatever_is_no_bridge_does_not_answer(bridge):
    assert (await asked_of(bridge)).json()["bridge"] == {
        "answers": False,
        "spool_events": None,
        "spool_bytes": None,
        "spool_oldest_seconds": None,
        "dead_letters": None,
    }
    assert len(bridge.requests) == 1


def audit(ended: int, verified: dict[str, int | None], *, dry_run: bool = False, **counts: int) -> bytes:
    """Return an audit as a run of `bridge reconcile` keeps it, with moments in seconds; `counts` are of each entity."""
    report = Report("run", "http://openbsp.example", "1", dry_run, 0, ended * 1_000_000)
    for entity, until in verified.items():
        tally = report.of(entity, "acme")
        tally.compared = 10
        for name, count in counts.items():
            setattr(tally, name, count)
        if until is not None:
            report.verified_until[entity, "acme"] = until * 1_000_000
    return Audit(report.content(), "key", "signature").encode()


async def completeness(world: World) -> dict:
    async with world.client(ALL) as client:
        return (await client.get("/pipeline")).json()["completeness"]


async def test_the_page_is_told_up_to_when_nothing_is_missing_and_how_much_was(world):
    world.audits = [
        audit(3_000, {"messages": 2_900}, missing=2, different=1, gone=1, confirmed=3),
        audit(1_000, {"messages": 900, "conversations": 950}),
        audit(9_000, {"messages": 8_000, "conversations": 8_000}, dry_run=True),
        b"none",
        b'{"report": {"rows": 1}}',
    ]
    assert await completeness(world) == {
        "verified_until": "1970-01-01T00:15:50+00:00",
        "run_ended_at": "1970-01-01T00:50:00+00:00",
        "every_seconds": None,
        "compared": 10,
        "missing": 2,
        "different": 1,
        "left": 1,
        "problem": None,
    }


async def test_what_was_never_verified_has_no_moment(world):
    world.audits = [audit(1_000, {"messages": 900, "conversations": None})]
    assert (await completeness(world))["verified_until"] is None


async def test_audits_that_cannot_be_read_are_said_to_be_so(world):
    world.audits = TopicsError(["openbsp.audits: missing"])
    told = await completeness(world)
    assert told["verified_until"] is None
    assert "openbsp.audits: missing" in told["problem"]


async def test_the_bridge_is_not_for_those_who_are_bound_to_organizations():
    bridge = FakeBridge()
    assert_problem(await asked_of(bridge, ACME), 403, "not_permitted")
    assert bridge.requests == []


def test_the_link_of_bridge_up_has_the_token_where_no_server_sees_it():
    assert page_link("http://127.0.0.1:8090", "a+b/c==") == "http://127.0.0.1:8090/#token=a%2Bb%2Fc%3D%3D"


async def test_dead_letters_are_not_for_those_who_are_bound_to_organizations_and_wait_for_the_worker():
    world = World()
    async with world.client(ACME) as bound, world.client(ALL) as observer:
        assert_problem(await bound.get("/dead-letters"), 403, "not_permitted")
        assert_problem(await observer.get("/dead-letters"), 503, "not_ready")
    await world.views.close()
