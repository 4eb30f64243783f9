"""The OpenAPI description of the views. Schemas and refusals are generated from those of the answers."""

import functools
from importlib.resources import files
from typing import Any

import msgspec

from openbsp.http.openapi import TOKEN, description, metrics, probe, problem, reference, refusals
from openbsp.http.problems import Reason
from openbsp.http.refusals import BODY_TIMEOUT, NOT_FOUND, TOO_LARGE, UNAUTHORIZED, UNSUPPORTED_MEDIA_TYPE
from streams.views.http.queries import DEFAULT_LIMIT, MOST
from streams.views.read import render
from streams.views.read.message_index import STATUSES
from streams.views.refusals import (
    CROSS_SITE,
    INVALID_PARAMETER,
    MALFORMED_SESSION,
    NOT_APPLIED,
    NOT_PERMITTED,
    NOT_READY,
    REASONS,
    TOO_MANY_ATTEMPTS,
    TOO_MANY_STREAMS,
)

_COMPONENTS = "#/components/schemas/{name}"
_TOKENS: list[dict[str, list[str]]] = [{"token": []}, {"cookie": []}]
_PARTITIONS = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "Those that are not ready; only with `not_ready`.",
}
#: Of all refusals, with examples.
_refusals = functools.partial(refusals, members={NOT_READY.code: {"partitions": [3]}})
_EXAMPLES = "examples.json"

_EVENTS = """A stream of Server-Sent Events (`text/event-stream`) without end. Each worker serves the same events.

| event | data | meaning |
|---|---|---|
{rows}

From `ready` on events have an id. Sent back as `Last-Event-ID`, to any worker, it resumes the stream where it ended,
without a gap. With an id that is older than an hour the stream starts over, with `begin` or `snapshot`. Comments are
sent every few seconds while nothing changes."""

_CONVERSATION_EVENTS = (
    (
        "snapshot",
        "`conversation`, `messages`",
        "The conversation and its newest messages: discard what was sent before.",
    ),
    ("change", "`conversation`, `messages`, `removed_messages`", "The conversation, and those messages that changed."),
    ("removed", "`id`", "The conversation is gone, or may not be seen any more."),
)
_LIST_EVENTS = (
    ("begin", "`{}`", "Discard what was sent before; the current state follows."),
    ("conversation", "the conversation", "A conversation as it is now."),
    ("removed", "`id`", "The conversation is gone, or is not what was asked for any more."),
)
_COMMON_EVENTS = (
    ("ready", "`{}`", "Everything up to here has been sent."),
    ("waiting", "`partitions`", "Partitions have no worker that is ready; `ready` follows when they have."),
    ("too_slow", "`{}`", "The client reads too slowly and is disconnected; it may reconnect with its last id."),
)


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenBSP stream bridge: views",
            "version": "1",
            "description": "How conversations are now. Any worker answers for all of them. What cannot be answered "
            "whole and current is not answered: while a partition moves between workers its reads wait, for "
            "STREAMS_READ_WAIT_S at the most, then 503 with `Retry-After`. A token that is bound to organizations sees "
            "only theirs; everything else is 404, as if it did not exist.",
        },
        "servers": [{"url": "/", "description": "The worker that serves this, and any other one."}],
        "security": _TOKENS,
        "paths": {
            "/conversations/{conversation_id}": {"get": _conversation()},
            "/conversations/{conversation_id}/messages": {"get": _messages()},
            "/conversations/{conversation_id}/events": {"get": _conversation_events()},
            "/conversations": {"get": _conversations()},
            "/messages/{message_id}": {"get": _message()},
            "/messages": {"get": _all_messages()},
            "/orphans": {"get": _orphans()},
            "/events": {"get": _events()},
            "/session": _session(),
            "/healthz": {
                "get": probe("isAlive", "Whether the process is alive.", _200=_ok("Health", "alive", "It is."))
            },
            "/readyz": {
                "get": probe(
                    "isReady",
                    "Whether this worker can answer for everything that it owns, and its join moves.",
                    _200=_ok("Readiness", "ready", "It can."),
                    **{f"_{status}": refused for status, refused in _refusals(NOT_READY).items()},
                )
            },
            "/metrics": {
                "get": metrics(
                    "Metrics in Prometheus' format, for tokens that are not bound to organizations.",
                    _TOKENS,
                    UNAUTHORIZED,
                    NOT_PERMITTED,
                )
            },
            "/pipeline": {"get": _pipeline()},
            "/dead-letters": {"get": _dead_letters()},
            "/openapi.json": {"get": description("describe", "This description.")},
        },
        "components": {
            "securitySchemes": {
                "token": dict(TOKEN),
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "openbsp_views",
                    "description": "Set by `POST /session`, for browsers: their EventSource sends no other header.",
                },
            },
            "schemas": _schemas(),
        },
    }


def _conversation() -> dict[str, Any]:
    return _view(
        "getConversation",
        "One conversation.",
        [_id("conversation_id", "Of the conversation, percent-encoded."), _after(), _if_none_match()],
        ("Conversation", "conversation"),
        NOT_FOUND,
    )


def _messages() -> dict[str, Any]:
    return _view(
        "listMessages",
        "The messages of a conversation, newest first.",
        [
            _id("conversation_id", "Of the conversation, percent-encoded."),
            _limit(),
            _cursor(),
            _after(),
            _if_none_match(),
        ],
        ("MessagePage", "messages"),
        NOT_FOUND,
    )


def _message() -> dict[str, Any]:
    return _view(
        "getMessage",
        "One message, with all that was received of it.",
        [_id("message_id", "Of the message, percent-encoded."), _after(), _if_none_match()],
        ("Message", "message"),
        NOT_FOUND,
    )


def _conversations() -> dict[str, Any]:
    return _view(
        "listConversations",
        "Conversations by when they were active last, the latest first. Filters combine.",
        [*_filters(), _limit(), _cursor(), _after(), _if_none_match()],
        ("ConversationPage", "conversations"),
    )


def _all_messages() -> dict[str, Any]:
    return _view(
        "listAllMessages",
        "Messages of all conversations, newest first. Filters combine. A page may have fewer than `limit`, even none: "
        "only `next_cursor` null is the end.",
        [*_message_filters(), _limit(), _cursor(), _after(), _if_none_match()],
        ("ListedMessagePage", "listed_messages"),
    )


def _orphans() -> dict[str, Any]:
    return _view(
        "listOrphans",
        "Conversations whose row never arrived, although messages of it did, by when they were active last. `bridge "
        "reconcile --orphans` fetches the rows.",
        [
            _query("organization_id", "Only those of the organization.", {"type": "string"}),
            _limit(),
            _cursor(),
            _after(),
            _if_none_match(),
        ],
        ("OrphanPage", "orphans"),
    )


def _conversation_events() -> dict[str, Any]:
    return _stream(
        "watchConversation",
        "One conversation and its messages, as they change.",
        (*_CONVERSATION_EVENTS, *_COMMON_EVENTS),
        [_id("conversation_id", "Of the conversation, percent-encoded.")],
        NOT_FOUND,
    )


def _events() -> dict[str, Any]:
    return _stream(
        "watchConversations",
        "All conversations that the filters admit, as they change.",
        (*_LIST_EVENTS, *_COMMON_EVENTS),
        _filters(),
    )


def _session() -> dict[str, Any]:
    who = {"200": _ok("Session", "session", "Who is signed in; `reader` is null without a session.")}
    refused = _refusals(
        MALFORMED_SESSION, BODY_TIMEOUT, UNAUTHORIZED, CROSS_SITE, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, TOO_MANY_ATTEMPTS
    )
    return {
        "get": {"operationId": "whoIsSignedIn", "summary": "Who is signed in.", "security": [{}], "responses": who},
        "post": {
            "operationId": "signIn",
            "summary": "Put a token into a cookie that scripts cannot read, for the live page.",
            "security": [{}],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["token"],
                            "additionalProperties": False,
                            "properties": {"token": {"type": "string"}},
                        }
                    }
                },
            },
            "responses": who | refused,
        },
        "delete": {
            "operationId": "signOut",
            "summary": "Have the browser forget the cookie.",
            "security": [{}],
            "responses": {"204": {"description": "It is forgotten."}} | _refusals(CROSS_SITE),
        },
    }


def _pipeline() -> dict[str, Any]:
    return {
        "operationId": "readPipeline",
        "summary": "How bridge and states are, for the live page and tokens that are not bound to organizations.",
        "responses": {
            "200": _ok(
                "Pipeline",
                "pipeline",
                "`bridge` is null if the worker knows of none, `completeness` if `bridge reconcile` keeps no audits.",
            )
        }
        | _refusals(UNAUTHORIZED, NOT_PERMITTED),
    }


def _dead_letters() -> dict[str, Any]:
    return {
        "operationId": "listDeadLetters",
        "summary": "The newest dead letters, for the live page and tokens that are not bound to organizations.",
        "responses": {"200": _ok("DeadLetters", "dead_letters", "Without what was refused: the commands show that.")}
        | _refusals(UNAUTHORIZED, NOT_PERMITTED, NOT_READY),
    }


def _view(
    name: str, summary: str, parameters: list[dict[str, Any]], answer: tuple[str, str], *reasons: Reason
) -> dict[str, Any]:
    schema, example = answer
    found = _ok(schema, example, "It, as it is now.")
    found["headers"] = {"ETag": {"description": "For If-None-Match.", "schema": {"type": "string"}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": found, "304": {"description": "It still has the tag that If-None-Match names."}}
        | _refusals(INVALID_PARAMETER, UNAUTHORIZED, *reasons, NOT_READY, NOT_APPLIED),
    }


def _stream(
    name: str,
    summary: str,
    events: tuple[tuple[str, str, str], ...],
    parameters: list[dict[str, Any]],
    *reasons: Reason,
) -> dict[str, Any]:
    rows = "\n".join(f"| `{event}` | {data} | {meaning} |" for event, data, meaning in events)
    resume = "The id of the last event that was received; the parameter is for clients that cannot set headers."
    text = {"type": "string"}
    return {
        "operationId": name,
        "summary": summary,
        "description": _EVENTS.format(rows=rows),
        "parameters": [
            *parameters,
            {"name": "Last-Event-ID", "in": "header", "description": resume, "schema": text},
            _query("last_event_id", resume, text),
        ],
        "responses": {
            "200": {
                "description": "The stream.",
                "content": {"text/event-stream": {"schema": text, "example": _examples()[name]}},
            }
        }
        | _refusals(INVALID_PARAMETER, UNAUTHORIZED, *reasons, NOT_READY, TOO_MANY_STREAMS),
    }


def _ok(schema: str, example: str, description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": reference(schema), "example": _examples()[example]}},
    }


def _schemas() -> dict[str, Any]:
    views = (render.Conversation, render.Message, render.ConversationMessage, render.ListedMessage, render.Orphan)
    _, components = msgspec.json.schema_components(views, ref_template=_COMPONENTS)
    schemas: dict[str, Any] = dict(components)
    # An instant is text to msgspec, and content is any JSON, null among it.
    for schema in schemas.values():
        for name, member in schema["properties"].items():
            if name.endswith("_at") or name == "timestamp":
                schema["properties"][name] = {"type": ["string", "null"], "format": "date-time"}
            elif member == {"anyOf": [{}, {"type": "null"}]}:
                schema["properties"][name] = {}
    return schemas | {
        "ConversationPage": _page("conversations", "Conversation"),
        "MessagePage": _page("messages", "ConversationMessage"),
        "ListedMessagePage": _page("messages", "ListedMessage"),
        "OrphanPage": _page("orphans", "Orphan"),
        "Health": _object(status={"enum": ["alive"]}),
        "Readiness": {
            "type": "object",
            "required": ["status"],
            "properties": {
                "status": {
                    "enum": ["ready", "degraded"],
                    "description": "`degraded`: it answers, but an operator should look.",
                },
                "remarks": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "What is wrong, and what to do. Absent while nothing is.",
                },
            },
        },
        "Session": _object(
            reader={
                "type": ["object", "null"],
                "required": ["name", "organizations"],
                "properties": {
                    "name": {"type": "string"},
                    "organizations": {"type": ["array", "null"], "items": {"type": "string"}},
                },
            }
        ),
        "Pipeline": _pipeline_state(),
        "DeadLetters": _dead_letters_page(),
        "Problem": problem(REASONS.values(), partitions=_PARTITIONS),
    }


def _page(name: str, item: str) -> dict[str, Any]:
    return _object(
        **{
            name: {"type": "array", "items": reference(item)},
            "next_cursor": {"type": ["string", "null"], "description": "Of the next page; null on the last one."},
        }
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _pipeline_state() -> dict[str, Any]:
    number = {"type": ["number", "null"], "description": "Null while the bridge does not answer."}
    names = ("spool_events", "spool_bytes", "spool_oldest_seconds", "dead_letters")
    bridge = _object(answers={"type": "boolean"}, **dict.fromkeys(names, number))
    instant = {"type": ["string", "null"], "format": "date-time"}
    count = {"type": ["integer", "null"], "description": "Of the latest run; null if it is not known."}
    until = "The moment up to which nothing is missing; null if that could not be verified."
    completeness = _object(
        verified_until={**instant, "description": until},
        run_ended_at={**instant, "description": "The end of the latest run of `bridge reconcile`."},
        every_seconds={
            "type": ["integer", "null"],
            "description": "How often runs begin: `bridge reconcile --every`; null if they are made in another way.",
        },
        **dict.fromkeys(("compared", "missing", "different", "left"), count),
        problem={"type": ["string", "null"], "description": "Why the audits cannot be read at the moment."},
    )
    return _object(
        bridge={**bridge, "type": ["object", "null"]}, completeness={**completeness, "type": ["object", "null"]}
    )


def _dead_letters_page() -> dict[str, Any]:
    text = {"type": ["string", "null"], "description": "Null if it is not known."}
    letter = _object(
        position={"type": "string", "description": "topic:partition:offset, as `bridge dead-letters` takes it."},
        made_at={"type": "string", "format": "date-time"},
        **dict.fromkeys(("reason", "detail", "origin", "entity", "key", "organization_id"), text),
    )
    records = {"type": "integer", "description": "How many the topic holds."}
    return _object(records=records, newest={"type": "array", "items": letter})


def _filters() -> list[dict[str, Any]]:
    text = {"type": "string"}
    return [
        _query("organization_id", "Only those of the organization.", text),
        _query("status", "Only those whose row has this status.", text),
        _query("service", "Only those of this service, such as whatsapp.", text),
        _query("awaiting_reply", "Only those whose last message waits for a reply, or only the others.", _boolean()),
        _query("unread", "Only those with an incoming message that is not read, or only the others.", _boolean()),
        _query("unanswered", "Only those with a message since the last answer, or only the others.", _boolean()),
        _query("failed", "Only those with a message that could not be delivered, or only the others.", _boolean()),
        _query("archived", "Only those that are archived, or only the others.", _boolean()),
        _query("contact_address", "Only those with this contact, as OpenBSP spells it.", text),
        _query(
            "updated_since",
            "Only those that were active at this instant or later. Its offset is needed; a `+` is sent as `%2B`.",
            {"type": "string", "format": "date-time"},
        ),
    ]


def _message_filters() -> list[dict[str, Any]]:
    return [
        _query("organization_id", "Only those of the organization.", {"type": "string"}),
        _query(
            "status",
            "Only those with this `delivery_status`; none: those that have none.",
            {"type": "string", "enum": list(STATUSES)},
        ),
        _query(
            "since",
            "Only those of this instant or later, by `timestamp` as the answer has it. Its offset is needed; a `+` is "
            "sent as `%2B`.",
            {"type": "string", "format": "date-time"},
        ),
    ]


def _boolean() -> dict[str, Any]:
    return {"type": "boolean"}


def _limit() -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
    return _query("limit", "How many there are on a page at the most.", schema)


def _cursor() -> dict[str, Any]:
    return _query("cursor", "The `next_cursor` of the page before, of the same query.", {"type": "string"})


def _after() -> dict[str, Any]:
    return _query(
        "after",
        "Read your write: `<topic>:<partition>:<offset>` of a receipt of the bridge. The answer has that record in it; "
        "if that takes too long, it is 503 `not_applied`.",
        {"type": "string", "examples": ["openbsp.messages:3:1250"]},
    )


def _if_none_match() -> dict[str, Any]:
    return {
        "name": "If-None-Match",
        "in": "header",
        "description": "Entity tags; if one of them is that of the answer, it is 304 without a body.",
        "schema": {"type": "string"},
    }


def _id(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _examples() -> dict[str, Any]:
    examples: dict[str, Any] = msgspec.json.decode(files(__package__).joinpath(_EXAMPLES).read_bytes())
    return examples
