"""The OpenAPI description of the ingress, made from the same tables as the answers."""

from typing import Any

from avro.catalogue import ACTIONS, ENTITIES
from bridge.http.reasons import REASONS
from openbsp.http.problems import TYPE


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenBSP stream bridge: ingress",
            "version": "1",
            "description": "Takes OpenBSP's webhooks. A 2xx means that the event is stored and will be in its topic.",
        },
        "paths": {
            "/webhooks": {"post": _webhooks()},
            "/healthz": {"get": _plain("Whether the process is alive.", {"200": "It is."})},
            "/readyz": {
                "get": _plain(
                    "Whether events can be stored. With a token the answer has details.",
                    {"200": "They can; `status` is ready or degraded.", "503": "They cannot; `status` is unready."},
                    [{}, {"token": []}],
                )
            },
            "/asyncapi.json": {"get": _plain("The AsyncAPI 3 description of the topics.", {"200": "The description."})},
            "/metrics": {
                "get": _plain(
                    "Metrics in Prometheus' format.",
                    {"200": "The metrics.", "401": "A token is needed."},
                    [{"token": []}],
                )
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Envelope": _envelope(), "Receipt": _receipt(), "Problem": _problem()},
        },
    }


def _webhooks() -> dict[str, Any]:
    responses: dict[str, Any] = {
        "202": {
            "description": "Accepted: Kafka's in-sync replicas have it (published), or the bridge's disk (spooled).",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}},
        }
    }
    for reason in REASONS.values():
        text = f"`{reason.code}`: {reason.meaning}"
        known = responses.get(str(reason.status))
        if known is not None:
            known["description"] += f" {text}"
            continue
        responses[str(reason.status)] = {
            "description": text,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return {
        "operationId": "receiveWebhook",
        "summary": "Take one inserted, updated or deleted row.",
        "security": [{"token": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}},
        },
        "responses": responses,
    }


def _plain(
    summary: str, responses: dict[str, str], security: list[dict[str, list[str]]] | None = None
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {status: {"description": text} for status, text in responses.items()},
    }
    if security is not None:
        operation["security"] = security
    return operation


def _envelope() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["entity", "action", "data"],
        "properties": {
            "entity": {"enum": sorted(ENTITIES)},
            "action": {"enum": sorted(ACTIONS)},
            "data": {
                "type": "object",
                "description": "The row, or of an update what changed. Columns that are not listed here pass as well; "
                "of a deleted row the ids only, whatever else it holds.",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string", "minLength": 1},
                    "organization_id": {"type": ["string", "null"]},
                    "conversation_id": {"type": ["string", "null"]},
                },
            },
        },
    }


def _receipt() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["event_id", "entity", "action", "id", "disposition"],
        "properties": {
            "event_id": {
                "type": "string",
                "format": "uuid",
                "description": "Equal for equal events; the `ce_id` of the record.",
            },
            "entity": text,
            "action": text,
            "id": text,
            "disposition": {"enum": ["published", "spooled"]},
            "topic": {"type": "string", "description": "Only when published, as are partition and offset."},
            "partition": {"type": "integer"},
            "offset": {"type": "integer"},
        },
    }


def _problem() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "reason"],
        "properties": {
            "type": {"type": "string", "description": f"{TYPE} and the reason."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "For people; never quotes the body."},
            "reason": {"enum": sorted(REASONS)},
            "event_id": {"type": "string", "description": "Of the dead letter, where one was kept."},
        },
    }
