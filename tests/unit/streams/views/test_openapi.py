"""The description of the views holds: valid, complete, its examples are real answers, and answers are as it says."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from streams.views.http.openapi import document
from streams.views.read.applied import PATH as INTERNAL
from streams.views.refusals import REASONS
from support.views_world import ACME, ALL, World, conversation, message

DOCUMENT = document()
PAYLOADS = sorted((Path(__file__).parents[4] / "examples" / "payloads").glob("*.json"))


def test_it_is_valid():
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_generated_clients_find_the_server_and_the_filters_of_yes_or_no():
    """A generator makes a boolean of them, and paths are relative to the worker that was asked for the document."""
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]
    listing = DOCUMENT["paths"]["/conversations"]["get"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in listing}
    booleans = {"archived", "awaiting_reply", "failed", "unanswered", "unread"}
    assert {name for name, schema in schemas.items() if schema.get("type") == "boolean"} == booleans
    assert DOCUMENT["components"]["schemas"]["Conversation"]["properties"]["awaiting_reply"] == {"type": "boolean"}


def operations():
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


@pytest.mark.parametrize(("name", "operation"), list(operations()))
def test_every_example_is_as_its_schema_says(name, operation):
    del name
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            examples = [example["value"] for example in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            for example in examples:
                Draft202012Validator(schema).validate(example)


def test_every_path_is_described_but_that_between_workers():
    async def routes():
        return [route for route in World().views.app._app.routes if isinstance(route, Route)]

    served = {route.path for route in asyncio.run(routes())}
    assert served - set(DOCUMENT["paths"]) == {INTERNAL, "/", "/static/{name}"}
    assert set(DOCUMENT["paths"]) <= served


def test_every_reason_is_described_where_it_can_come():
    text = json.dumps(DOCUMENT["paths"])
    everywhere = {
        "method_not_allowed",
        "internal_error",
        "malformed_request",
        "head_too_large",
        "too_many_connections",
    }
    assert {code for code in REASONS if f"`{code}`" not in text} == everywhere


def test_the_page_names_every_reason_with_its_status():
    page = (Path(__file__).parents[4] / "docs" / "views.md").read_text("utf-8")
    assert [reason.code for reason in REASONS.values() if f"| {reason.status} | `{reason.code}` |" not in page] == []


def test_the_examples_are_the_answers_for_the_documented_payloads():
    async def answers() -> dict[str, object]:
        world = World()
        await world.own_and_index()
        for payload in PAYLOADS:
            world.post(json.loads(payload.read_text("utf-8")))
            await world.settle()
        async with world.client() as client:
            listed = (await client.get("/conversations")).json()
            path = f"/conversations/{listed['conversations'][0]['id']}"
            messages = (await client.get(f"{path}/messages?limit=1")).json()
            return {
                "listConversations": listed,
                "getConversation": (await client.get(path)).json(),
                "listMessages": messages,
                "listAllMessages": (await client.get("/messages?limit=1")).json(),
                "getMessage": (await client.get(f"/messages/{messages['messages'][0]['id']}")).json(),
                "isAlive": (await client.get("/healthz")).json(),
                "isReady": (await client.get("/readyz")).json(),
            }

    given = {o["operationId"]: o["responses"]["200"]["content"] for _, o in operations() if "200" in o["responses"]}
    for name, answer in asyncio.run(answers()).items():
        assert given[name]["application/json"]["example"] == answer, name


def test_it_is_served_to_everybody(asked):
    answer = asked("GET", "http://views/openapi.json", headers={})
    assert answer.json() == DOCUMENT


@pytest.fixture(scope="module")
def asked():
    """Return a function that sends a request to views with something in them, and returns the answer."""

    async def prepare() -> World:
        world = World(read_timeout_s=0.05)
        await world.own_and_index()
        for number in range(40):
            key = f"{number % 10}"
            world.post(conversation(key, ("acme", "other")[number % 2]), message(f"{number}", key))
        await world.settle()
        return world

    async def send(world: World, *request: str, **parts) -> httpx.Response:
        transport = httpx.ASGITransport(leaving(world.views.app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(*request, **parts)

    with asyncio.Runner() as runner:
        world = runner.run(prepare())
        yield lambda *request, **parts: runner.run(send(world, *request, **parts))


def leaving(app):
    """Wrap an app: who watches a stream leaves at once."""

    async def wrapped(scope, receive, send):
        ended = False

        async def leave():
            return {"type": "http.disconnect"}

        async def sending(event):
            nonlocal ended
            ended = ended or (event["type"] == "http.response.body" and not event.get("more_body"))
            await send(event)

        await app(scope, leave if scope["path"].endswith("events") else receive, sending)
        if not ended:
            await send({"type": "http.response.body"})

    return wrapped


SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


@SCHEMA.parametrize()
@settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_asked_is_answered_as_it_says(case, asked):
    """Only documented statuses and bodies; no 5xx but 503; every error is a problem with a known reason."""
    parts = case.as_transport_kwargs(base_url="http://views")
    method, url = parts.pop("method"), parts.pop("url")
    given = {name: value for name, value in (parts.pop("headers", None) or {}).items() if value is not None}
    # As they go over the wire: httpx takes a text for ASCII, which a header need not be.
    given = {name: value.encode("latin-1") if isinstance(value, str) else value for name, value in given.items()}
    parts = {name: value for name, value in parts.items() if name in {"params", "json", "data", "content"}}
    if isinstance(parts.get("data"), bytes | str):
        parts["content"] = parts.pop("data")
    for token in (ALL, ACME, None):
        headers = {name: value for name, value in given.items() if name.lower() not in {"authorization", "cookie"}}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        answer = asked(method, url, headers=headers, **parts)
        # Trap: schemathesis takes the schema of a stream for that of each event; here it is that of the text.
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        case.validate_response(answer, checks=CHECKS[:-1] if is_stream else CHECKS)
        assert answer.status_code < 500 or answer.status_code == 503
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert REASONS[answer.json()["reason"]].status == answer.status_code
        if token is None:
            assert answer.status_code == 401 or "security" in case.operation.definition.raw
