"""The live page in a real browser, on a real stack: what somebody at a support desk sees and does.

OPENBSP_SCREENSHOT=docs/live-page.png makes the picture of the documentation.
"""

import json
import os
import re
import shutil
import signal
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from confluent_kafka import Producer
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from openbsp_testkit import habits
from openbsp_testkit.rows import Conversation, Organization, Webhook
from support.desk import Desk
from support.up import RunningStack
from support.wait import eventually

pytestmark = [pytest.mark.integration]

WIDE: ViewportSize = {"width": 1440, "height": 920}
PHONE: ViewportSize = {"width": 390, "height": 844}

#: Told to each page before anything of it runs: what the browser's policy has refused is kept.
WATCH = """
window.refusedByPolicy = [];
document.addEventListener("securitypolicyviolation", (event) => window.refusedByPolicy.push(event.violatedDirective));
"""

HOSTILE = (
    "<img src=x onerror=\"window.hit='img'\">",
    "<script>window.hit='script'</script>",
    '"><svg onload="window.hit=\'svg\'"></svg><a href="javascript:window.hit=\'link\'">x</a>',
    "{{constructor.constructor(\"window.hit='template'\")()}} ${window.hit='literal'} <%= 7*7 %>",
    "</p></li></ol><style>*{display:none}</style><iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "\u202egnp.exe\u202c \u2066\u202b left \u200f\u200b and right",
    "&lt;b&gt; &amp;#x3C; %3Cscript%3E \\u003cscript\\u003e",
)

REACTION = {"version": "1", "type": "text", "kind": "reaction", "text": "❤"}

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing = f"none of {', '.join(names)} is installed"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    # Patience costs nothing where all is well.
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser, running_stack: RunningStack) -> Iterator[OpenPage]:
    """Open the page, signed in by the link if `link`; at the end nothing may have gone wrong in it."""
    with ExitStack() as contexts:
        pages: list[tuple[Page, list[str], bool]] = []

        def open_it(
            stack: RunningStack = running_stack,
            *,
            link: bool = True,
            viewport: ViewportSize = WIDE,
            colors: str = "light",
            breaks: bool = False,
        ) -> Page:
            context = chromium.new_context(viewport=viewport, color_scheme=colors)
            contexts.callback(context.close)
            context.add_init_script(WATCH)
            page = context.new_page()
            faults: list[str] = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda line: faults.append(line.text) if line.type in {"error", "warning"} else None)
            pages.append((page, faults, breaks))
            if link:
                page.goto(link_of(stack))
                expect(page.locator("#state")).to_have_text("Live")
            else:
                page.goto(stack.views)
            return page

        yield open_it
        for page, faults, breaks in pages:
            # A browser reports each answer that is an error; pages that lose their worker have some.
            assert [fault for fault in faults if not (breaks and "Failed to load resource" in fault)] == []
            assert page.evaluate("window.refusedByPolicy") == []
            assert page.evaluate("window.hit ?? null") is None


def link_of(stack: RunningStack) -> str:
    return f"{stack.views}/#token={quote(stack.token, safe='')}"


def post(stack: RunningStack, *webhooks: Webhook) -> None:
    for webhook in webhooks:
        assert stack.post(webhook.body).status_code == 202


def begin(stack: RunningStack, **columns: object) -> Conversation:
    """Begin a conversation with a name that nobody else has."""
    columns.setdefault("name", f"Contact {uuid.uuid4()}")
    conversation = Organization(start=datetime.now(UTC) - timedelta(minutes=2)).conversation(**columns)
    post(stack, conversation.insert)
    return conversation


def row(page: Page, conversation: Conversation) -> Locator:
    return page.locator(f"#rows .row[data-id={json.dumps(conversation.id)}]")


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window."""
    assert (
        page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
        <= [page.viewport_size["width"]] * 2
    )
    for name in ("#rows", "#scroll"):
        box = page.locator(name)
        if box.is_visible():
            assert box.evaluate("box => box.scrollWidth <= box.clientWidth"), name


def test_the_link_signs_in_and_leaves_no_trace_of_the_token(open_page, running_stack):
    page = open_page(link=False)
    expect(page.get_by_role("heading", name="Conversations, live")).to_be_visible()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto("about:blank")
    page.goto(link_of(running_stack))
    expect(page.locator("#state")).to_have_text("Live")
    assert page.url == f"{running_stack.views}/"
    assert running_stack.token not in page.evaluate("JSON.stringify([history.state, document.cookie, location.href])")
    # What a browser asks a server for has no fragment.
    assert [url for url in requested if running_stack.token in url.partition("#")[0]] == []
    assert running_stack.token not in running_stack.log.read_text("utf-8", "replace")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.reload()
    expect(page.locator("#state")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    eventually(lambda: page.context.cookies() == [])
    expect(page.locator("#rows .row")).to_have_count(0)


def test_one_signs_in_by_typing_the_token_too(open_page, running_stack):
    page = open_page(link=False, breaks=True)
    page.get_by_label("Token").fill("wrong-token-wrong-token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("the token is not valid")
    page.get_by_label("Token").fill(running_stack.token)
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("Live")


def test_what_is_posted_to_the_bridge_appears_by_itself(open_page, running_stack):
    """A conversation, its messages, and how far each reply has come, in the list and in the timeline."""
    page = open_page()
    conversation = begin(running_stack)
    mine = row(page, conversation)
    expect(mine).to_contain_text(conversation.row["name"])
    question = conversation.incoming("Is there a table for two?")
    post(running_stack, question.insert)
    expect(mine).to_contain_text("Is there a table for two?")
    expect(mine).to_contain_text("waiting")
    expect(mine.locator(".unread")).to_have_text("1 unread")
    waiting = int(page.locator("[data-tab=waiting] .count").inner_text().replace(",", ""))
    mine.click()
    timeline = page.locator("#messages .message")
    expect(timeline).to_have_count(1)
    reply = conversation.outgoing("There is, at eight.")
    post(running_stack, question.receipt("read"), reply.insert)
    expect(timeline).to_have_count(2)
    expect(timeline.last).to_contain_text("There is, at eight.")
    expect(mine.locator(".mark")).to_have_attribute("title", "Pending")
    for status, title in (("sent", "Sent"), ("delivered", "Delivered"), ("read", "Read")):
        post(running_stack, reply.receipt(status))
        expect(mine.locator(".mark")).to_have_attribute("title", title)
        expect(timeline.last.locator(".mark")).to_have_attribute("title", title)
        expect(timeline.last.locator(".steps")).to_contain_text(f"{status} +")
    expect(mine.locator(".unread")).to_have_count(0)
    expect(mine).not_to_contain_text("waiting")
    expect(page.locator("[data-tab=waiting] .count")).to_have_text(str(waiting - 1))
    post(running_stack, conversation.close())
    expect(page.locator("#chat-about")).to_contain_text("closed")


def test_a_message_tells_everything_about_itself(open_page, running_stack):
    conversation = begin(running_stack)
    long = conversation.incoming("So much to say. " * 60)
    file = conversation.incoming(content={"version": "1", "type": "file", "kind": "image", "text": "The menu"})
    failed = conversation.outgoing("This never arrives")
    post(running_stack, conversation.insert, long.insert, file.insert, failed.insert, failed.receipt("sent"))
    post(running_stack, failed.receipt("failed", errors=[{"code": 131026, "title": "Message undeliverable"}]))
    # One refers to the row's id, the other one to the id of the messaging service.
    hearts = conversation.incoming(content={**REACTION, "re_message_id": file.row["external_id"]})
    post(running_stack, *habits.reaction(long).webhooks, hearts.insert, *habits.scheduled(conversation).webhooks)
    page = open_page()
    row(page, conversation).click()
    expect(page.locator("#chat-window")).to_contain_text("Reply window until")
    messages = page.locator("#messages .message")
    expect(messages).to_have_count(4)
    expect(messages.nth(0).locator(".reactions bdi")).to_have_text("👍")
    expect(messages.nth(1).locator(".reactions bdi")).to_have_text("❤")
    expect(page.locator("#messages .day").last).to_have_text("Scheduled, not sent yet")
    expect(page.locator("#messages > :last-child.scheduled")).to_contain_text("to be sent")
    expect(messages.nth(1).locator(".kind")).to_have_text("image")
    expect(messages.nth(2).locator(".mark")).to_have_attribute("title", "Failed")
    for number, text in ((0, "So much to say. " * 60), (1, '"kind": "image"'), (2, "Message undeliverable")):
        messages.nth(number).locator("summary").click()
        details = messages.nth(number).locator("details")
        expect(details).to_contain_text(text.strip())
        expect(details).to_contain_text((long, file, failed)[number].id)
    expect(messages.nth(2).locator(".times")).to_contain_text(
        re.compile(r"Sent\s*\d+ \w+ \d{4}, \d\d:\d\d:\d\d\.\d{3}")
    )


def test_tabs_filters_and_search_choose_conversations(open_page, running_stack):
    service = f"service-{uuid.uuid4().hex[:8]}"
    asked, answered, closed, away = (begin(running_stack, service=service) for _ in range(4))
    hi = answered.incoming("Hi")
    reply = answered.outgoing("Yes")
    post(running_stack, asked.incoming("Hello?").insert, hi.insert, reply.insert, reply.receipt("failed"))
    post(running_stack, closed.incoming("Bye").insert, closed.close())
    post(running_stack, away.incoming("Never mind").insert, habits.archived(away))
    page = open_page()

    def shown() -> set[str]:
        # Trap: at once. The rows may be other ones before each of them has been asked.
        return set(page.locator("#rows .row").evaluate_all("rows => rows.map(row => row.dataset.id)"))

    page.get_by_label("Service").select_option(label=service)
    expect(page.locator("#shown")).to_have_text("1 to 4 of 4")
    for tab, expected in (
        ("Waiting", {asked.id, answered.id}),  # a reply that failed is no answer
        ("Unanswered", {asked.id, answered.id, closed.id}),
        ("Unread", {asked.id, answered.id, closed.id, away.id}),
        ("Failed", {answered.id}),
        ("Archived", {away.id}),
        ("All", {asked.id, answered.id, closed.id, away.id}),
    ):
        page.locator("#tabs").get_by_role("button", name=tab).click()
        eventually(lambda expected=expected: shown() == expected)
        assert page.locator("#tabs [aria-pressed=true]").inner_text().startswith(tab)
    page.get_by_label("Status", exact=True).select_option(label="closed")
    eventually(lambda: shown() == {closed.id})
    page.get_by_label("Status", exact=True).select_option(label="Any status")
    page.get_by_label("Search").fill(answered.row["name"].upper())
    eventually(lambda: shown() == {answered.id})
    page.get_by_label("Search").fill("nobody is called like that")
    expect(page.locator("#empty")).to_have_text("No conversation is like that.")


def test_older_messages_come_page_by_page(open_page, running_stack):
    conversation = begin(running_stack)
    post(running_stack, *(conversation.incoming(f"line {number:03}").insert for number in range(120)))
    eventually(lambda: running_stack.view(f"/conversations/{conversation.id}").json().get("message_count") == 120)
    page = open_page()
    row(page, conversation).click()
    messages = page.locator("#messages .message")
    expect(messages).to_have_count(50)
    expect(messages.last).to_be_in_viewport()
    post(running_stack, conversation.incoming("line 120").insert)
    expect(messages).to_have_count(51)
    older = page.get_by_role("button", name="Older messages")
    older.click()
    expect(messages).to_have_count(101)
    older.click()
    expect(messages).to_have_count(121)
    expect(older).to_be_hidden()
    texts = page.locator("#messages .message .text").all_inner_texts()
    assert texts == [f"line {number:03}" for number in range(121)]


def test_it_survives_the_loss_of_the_worker(open_page, bridge_up):
    """Killed and started again: the page says so, and goes on by itself where it was."""
    stack = bridge_up()
    conversation = begin(stack)
    post(stack, conversation.incoming("before").insert)
    page = open_page(stack, breaks=True)
    row(page, conversation).click()
    expect(page.locator("#messages .message")).to_have_count(1)
    page.evaluate("window.sameDocument = true")
    os.kill(stack.pids["streams"], signal.SIGKILL)
    expect(page.locator("#state")).to_contain_text("Reconnecting")
    expect(page.locator("#chat-notice")).to_contain_text("Reconnecting")
    missed = conversation.outgoing("meanwhile")
    post(stack, missed.insert, missed.receipt("sent"))
    expect(page.locator("#state")).to_have_text("Live", timeout=60_000)
    expect(page.locator("#chat-notice")).to_be_hidden(timeout=30_000)
    expect(page.locator("#messages .message")).to_have_count(2)
    expect(row(page, conversation).locator(".mark")).to_have_attribute("title", "Sent")
    post(stack, conversation.incoming("afterwards").insert)
    expect(page.locator("#messages .message")).to_have_count(3)
    expect(row(page, conversation)).to_contain_text("afterwards")
    assert page.evaluate("window.sameDocument")


def test_a_page_that_nobody_looks_at_keeps_no_connection_and_catches_up(open_page, running_stack):
    """A browser has six connections for all pages of a server, and a stream takes one."""
    page = open_page(link=False)
    page.clock.install()
    page.goto(link_of(running_stack))
    expect(page.locator("#state")).to_have_text("Live")
    conversation = begin(running_stack)

    def look(*, hidden: bool) -> None:
        page.evaluate(
            "hidden => Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })", hidden
        )
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    look(hidden=True)
    page.clock.run_for(31_000)
    eventually(lambda: "\nstreams_event_streams 0.0\n" in running_stack.view("/metrics").text)
    post(running_stack, conversation.incoming("while you were away").insert)
    look(hidden=False)
    page.clock.resume()
    expect(page.locator("#state")).to_have_text("Live")
    expect(row(page, conversation)).to_contain_text("while you were away")


def test_the_reason_of_a_refusal_is_shown(open_page, running_stack):
    page = open_page(breaks=True)
    begun = begin(running_stack)
    problem = {"reason": "not_ready", "detail": "partitions are being caught up with", "partitions": [1, 3]}
    page.route(
        re.compile(r"/events"),
        lambda route: route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem)),
    )
    row(page, begun).click()
    expect(page.locator("#chat-notice")).to_have_text(
        "Reconnecting: partitions are being caught up with (partitions 1, 3)"
    )
    page.unroute(re.compile(r"/events"))
    expect(page.locator("#chat-notice")).to_be_hidden(timeout=15_000)


def test_a_conversation_without_a_name_shows_that_of_its_contact_as_it_changes(open_page, running_stack):
    page = open_page()
    first = begin(running_stack, name=None)
    at, of = first.row["contact_address"], first.organization
    second = of.conversation(name="", contact_address=at)
    post(running_stack, second.insert)
    both = [row(page, first), row(page, second)]
    person = of.contact("Ana Ruiz")
    told = ((person.at(first, "~ana").insert, "~ana"), (person.insert, "Ana Ruiz"), (person.update(name="Eva"), "Eva"))
    for mine in both:
        expect(mine).to_contain_text(at)
    both[0].click()
    expect(page.locator("#chat-name")).to_have_text(at)
    for webhook, name in told:
        post(running_stack, webhook)
        for mine in both:
            expect(mine).to_contain_text(name)
        expect(page.locator("#chat-name")).to_have_text(name)


def test_what_is_not_there_and_who_may_not_look_any_more(open_page, running_stack):
    page = open_page(breaks=True)
    page.evaluate("location.hash = '#/conversations/nobody%20has%20this%20id'")
    expect(page.locator("#chat-notice")).to_have_text("There is no such conversation.")
    conversation = Organization(start=datetime.now(UTC) - timedelta(minutes=2)).conversation(name="Soon")
    page.goto(f"{running_stack.views}/#/conversations/{quote(conversation.id)}")
    expect(page.locator("#chat-notice")).to_have_text("There is no such conversation.")
    post(running_stack, conversation.insert)
    expect(page.locator("#chat-name")).to_have_text(conversation.row["name"])
    expect(page.locator("#chat-notice")).to_be_hidden()
    page.context.clear_cookies()
    expect(page.get_by_role("alert")).to_have_text("Your sign-in has ended.")
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.locator("#rows .row, #messages .message")).to_have_count(0)


def test_an_event_source_of_the_browser_works_by_the_cookie(open_page):
    page = open_page()
    name = page.evaluate(
        """() => new Promise((resolve, reject) => {
            const source = new EventSource("/events");
            source.addEventListener("ready", (event) => { source.close(); resolve(event.lastEventId); });
            source.onerror = reject;
        })"""
    )
    assert re.fullmatch(r"[\d:,]+@\d+~[0-9a-f]+", name)


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_text_is_never_taken_for_markup(open_page, running_stack, viewport):
    """Whatever columns hold is shown as it is, and nothing in it runs or breaks the page."""
    requested: list[str] = []
    page = open_page(viewport=viewport)
    page.on("request", lambda request: requested.append(request.url))
    ident = f"{uuid.uuid4()}/<img src=x onerror=\"window.hit='id'\">?#%2F&'"
    conversation = begin(
        running_stack, id=ident, name=f"{HOSTILE[0]} {uuid.uuid4()}", status=HOSTILE[1], service=HOSTILE[2]
    )
    for text in HOSTILE:
        post(running_stack, conversation.incoming(text).insert)
    post(running_stack, conversation.incoming("W" * 100_000).insert, conversation.incoming("\u0644 " * 5_000).insert)
    odd = conversation.outgoing(content={"type": "data", "kind": HOSTILE[1], "data": {HOSTILE[0]: HOSTILE[1]}})
    post(running_stack, odd.insert, odd.receipt(HOSTILE[0]))
    mine = row(page, conversation)
    expect(mine).to_contain_text(HOSTILE[0])
    mine.click()
    messages = page.locator("#messages .message")
    expect(messages).to_have_count(len(HOSTILE) + 3)
    expect(page.locator("#chat-name")).to_contain_text(HOSTILE[0])
    shown = messages.locator(".text").evaluate_all("all => all.map((one) => one.textContent)")
    assert shown[: len(HOSTILE)] == list(HOSTILE)
    assert shown[len(HOSTILE)].startswith("W" * 200)
    for number in (0, 3, len(HOSTILE), len(HOSTILE) + 2):
        messages.nth(number).locator("summary").click()
        expect(messages.nth(number).locator(".times")).to_be_visible()
    assert page.locator("#chat img, #rows img, #chat script, #chat a, #chat iframe, #rows a").count() == 0
    assert [url for url in requested if not url.startswith(f"{running_stack.views}/")] == []
    assert [url for url in requested if url.endswith("/x")] == []
    assert_fits(page)
    page.get_by_role("button", name="Back to the list").click()
    assert_fits(page)


def test_on_a_phone_there_is_the_list_or_the_conversation(open_page, running_stack):
    conversation = begin(running_stack)
    post(running_stack, conversation.incoming("Hello from a small screen, with words enough for two lines").insert)
    page = open_page(viewport=PHONE)
    mine = row(page, conversation)
    expect(mine).to_be_visible()
    expect(page.locator("#numbers")).to_be_hidden()
    assert_fits(page)
    page.get_by_role("button", name="Numbers").click()
    expect(page.locator("#numbers")).to_be_visible()
    assert_fits(page)
    page.get_by_role("button", name="Numbers").click()
    mine.click()
    expect(page.locator("#messages .message")).to_have_count(1)
    expect(page.locator("#rows")).to_be_hidden()
    assert_fits(page)
    page.go_back()
    expect(mine).to_be_visible()
    expect(page.locator("#chat")).to_be_hidden()


def test_everything_can_be_reached_and_done_with_the_keyboard(open_page, running_stack):
    first, second = begin(running_stack), begin(running_stack)
    post(running_stack, first.incoming("one").insert, second.incoming("two").insert)
    page = open_page()
    expect(row(page, first)).to_contain_text("one")
    expect(row(page, second)).to_contain_text("two")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the conversations")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for _ in range(20):
        if page.evaluate("document.activeElement.classList.contains('row')"):
            break
        page.keyboard.press("Tab")
    rows = page.locator("#rows .row")
    expect(rows.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    chosen = rows.nth(1).get_attribute("data-id")
    page.keyboard.press("Enter")
    expect(page.locator("#chat-name")).to_be_focused()
    expect(page.locator("#messages .message").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#scroll")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#messages summary").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#messages .times").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(f"#rows .row[data-id={json.dumps(chosen)}]")).to_be_focused()
    expect(page.locator("#chat")).to_be_hidden()


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_control_has_a_name_and_every_part_its_landmark(open_page, running_stack, viewport):
    conversation = begin(running_stack)
    post(running_stack, conversation.incoming("Hello").insert)
    page = open_page(viewport=viewport)
    roles: set[str] = set()
    for step in ("list", "conversation"):
        if step == "conversation":
            row(page, conversation).click()
            expect(page.locator("#messages .message")).to_have_count(1)
        nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        told = [
            (node["role"]["value"], node.get("name", {}).get("value", "").strip())
            for node in nodes
            if not node["ignored"] and "role" in node
        ]
        named = {"button", "textbox", "searchbox", "combobox", "link", "image", "img", "region", "list"}
        assert [role for role, name in told if role in named and not name and role != "list"] == []
        roles |= {role for role, _ in told}
    assert roles >= {"banner", "main", "navigation", "region", "heading", "list", "listitem", "status", "button"}
    assert page.evaluate("document.documentElement.lang") == "en"


def test_ten_thousand_conversations_are_shown_page_by_page(open_page, running_stack):
    state = running_stack.view(f"/conversations/{_one(running_stack).id}").json()
    frames = ["event: begin\ndata: {}\n\n"]
    for number in range(10_000):
        at = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat()
        told = {**state, "id": f"c{number:05}", "name": f"Contact {number:05}", "active_at": at}
        frames.append(f"event: conversation\ndata: {json.dumps(told)}\n\n")
    frames.append("event: ready\nid: 0:0@0\ndata: {}\n\n")
    page = open_page(link=False)
    answers = iter(["".join(frames)])

    def answer(route: object) -> None:
        body = next(answers, None)
        if body is not None:
            route.fulfill(content_type="text/event-stream", body=body)

    page.route(re.compile(r"/events"), answer)
    page.get_by_label("Token").fill(running_stack.token)
    page.keyboard.press("Enter")
    expect(page.locator("#shown")).to_have_text("1 to 100 of 10,000", timeout=20_000)
    rows = page.locator("#rows .row")
    assert rows.count() == 100
    expect(rows.first).to_contain_text("Contact 09999")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#shown")).to_have_text("101 to 200 of 10,000")
    expect(rows.first).to_contain_text("Contact 09899")
    took = page.evaluate(
        """() => {
            const began = performance.now();
            const search = document.getElementById("search");
            search.value = "contact 0123";
            search.dispatchEvent(new Event("input"));
            return performance.now() - began;
        }"""
    )
    expect(page.locator("#shown")).to_have_text("1 to 10 of 10")
    assert took < 1_000


def _one(stack: RunningStack) -> Conversation:
    conversation = begin(stack)
    post(stack, conversation.incoming("Hello").insert)
    eventually(lambda: stack.view(f"/conversations/{conversation.id}").status_code == 200)
    return conversation


def test_the_numbers_follow_what_goes_on(open_page, running_stack):
    page = open_page()
    conversation = begin(running_stack)
    reply = conversation.outgoing("On its way")
    post(running_stack, reply.insert, *(reply.receipt(status) for status in ("sent", "delivered", "read")))
    card = page.locator(".card")
    expect(card.filter(has_text="Sent → delivered").locator(".value")).to_contain_text("median", timeout=15_000)
    expect(card.filter(has_text="Delivered → read").locator(".value")).to_contain_text("median", timeout=15_000)
    expect(card.filter(has_text="Messages").locator(".value")).not_to_have_text("0 / min", timeout=15_000)
    expect(card.filter(has_text="Status changes").locator(".value")).not_to_have_text("0 / min", timeout=15_000)
    expect(card.filter(has_text="Pipeline")).to_contain_text("Spool", timeout=15_000)
    pipeline = card.filter(has_text="Pipeline")
    expect(pipeline).to_contain_text("ready")
    expect(pipeline).to_contain_text("Behind by", timeout=15_000)


def test_the_pipeline_says_up_to_when_nothing_is_missing(open_page, running_stack):
    """From what `bridge reconcile` keeps in the topic of audits; without audits nothing is said."""
    page = open_page()
    pipeline = page.locator(".card").filter(has_text="Pipeline")
    expect(pipeline).to_contain_text("Dead letters", timeout=15_000)
    expect(pipeline).not_to_contain_text("Complete up to")
    keep_audit(running_stack, timedelta(minutes=3), missing=2, confirmed=2)
    expect(pipeline).to_contain_text("Complete up to3 m", timeout=40_000)
    expect(pipeline).to_contain_text("2 of 1,200, repaired")
    keep_audit(running_stack, timedelta(hours=5), missing=3, confirmed=1)
    expect(pipeline.locator(".bad").filter(has_text="Complete up to")).to_contain_text("5 h", timeout=40_000)
    expect(pipeline.locator(".bad").filter(has_text="Missing")).to_contain_text("3 of 1,200, 2 not repaired")
    keep_audit(running_stack, timedelta(hours=6), every_seconds=86_400)
    expect(pipeline.locator(".good").filter(has_text="Complete up to")).to_contain_text("6 h", timeout=40_000)


def keep_audit(stack: RunningStack, ago: timedelta, *, every_seconds: int | None = None, **counts: int) -> None:
    now = datetime.now(UTC)
    row = {
        "entity": "messages",
        "organization_id": "acme",
        "compared": 1_200,
        **dict.fromkeys(("missing", "different", "gone", "confirmed", "conflicts"), 0),
        **counts,
        "verified_until": (now - ago).isoformat(),
    }
    report = {"run": uuid.uuid4().hex, "dry_run": False, "ended_at": now.isoformat(), "rows": [row]}
    report["every_seconds"] = every_seconds
    producer = Producer({"bootstrap.servers": stack.kafka})
    producer.produce("openbsp.audits", json.dumps({"report": report, "key": "k", "signature": "s"}), key=report["run"])
    assert producer.flush(10) == 0


def test_dead_letters_are_listed_with_their_reasons_and_the_command_that_shows_each(open_page, running_stack):
    key = f"<b>{uuid.uuid4()}</b>"
    body = json.dumps({"entity": "messages", "action": "upsert", "data": {"id": key}}).encode()
    assert running_stack.post(body).status_code == 422
    page = open_page()
    page.get_by_role("button", name="Show dead letters").click()
    letter = page.locator("#dead-letters li").filter(has_text=key)
    expect(letter).to_contain_text("invalid_event")
    expect(letter).to_contain_text(re.compile(r"bridge dead-letters show \S+:\d+:\d+"))
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#dead-letters")).to_be_hidden()


@pytest.mark.skipif("OPENBSP_SCREENSHOT" not in os.environ, reason="OPENBSP_SCREENSHOT=path makes the picture")
def test_screenshot(open_page, bridge_up):
    """Half an hour of a busy desk: most of it is there, the rest comes in while the page's clock runs fast."""
    stack = bridge_up()
    opened_at = datetime.now(UTC).replace(microsecond=0)
    desk = Desk(opened_at - timedelta(minutes=25), opened_at + timedelta(minutes=10))
    coming = deque(desk.events)

    def post_until(at: datetime) -> None:
        while coming and coming[0][0] <= at:
            receipt = stack.post(coming.popleft()[1].body).json()
            place = f"{receipt['topic']}:{receipt['partition']}:{receipt['offset']}"
            assert stack.view(f"/conversations?limit=1&after={place}").status_code == 200

    post_until(opened_at)
    page = open_page(stack, link=False)
    page.clock.install(time=opened_at)
    page.goto(link_of(stack))
    expect(page.locator("#state")).to_have_text("Live")
    for step in range(1, 61):
        post_until(opened_at + timedelta(seconds=10 * step))
        page.clock.run_for(10_000)
    row(page, desk.guest).click()
    # From here on the page's clock is a real one; while it ran fast, silences seemed long.
    page.clock.resume()
    expect(page.locator("#state")).to_have_text("Live", timeout=30_000)
    expect(page.locator("#messages .message")).to_have_count(12)
    page.locator("#rows").evaluate("rows => rows.scrollTo(0, 0)")
    page.screenshot(path=os.environ["OPENBSP_SCREENSHOT"])
