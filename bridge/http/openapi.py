"""The OpenAPI description of the ingress, generated from the tables behind the answers."""

from typing import Any

from avro.catalogue import ACTIONS
from avro.columns import ENTITIES
from bridge.http.refusals import REASONS
from openbsp.http.openapi import TOKEN, description, metrics, probe, problem, reference, refusals
from openbsp.http.refusals import UNAUTHORIZED

_DEAD_LETTER = {"type": "string", "description": "Of the dead letter, where one was kept."}


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
            "/healthz": {"get": probe("isAlive", "Whether the process is alive.", _200={"description": "It is."})},
            "/readyz": {
                "get": probe(
                    "isReady",
                    "Whether events can be stored. With a token the answer has details.",
                    _200={"description": "They can; `status` is ready or degraded."},
                    _503={"description": "They cannot; `status` is unready."},
                )
                | {"security": [{}, {"token": []}]}
            },
            "/metrics": {"get": metrics("Metrics in Prometheus' format.", [{"token": []}], UNAUTHORIZED)},
            "/openapi.json": {"get": description("describe", "This description.")},
            "/asyncapi.json": {"get": description("describeTopics", "The AsyncAPI 3 description of the topics.")},
        },
        "components": {
            "securitySchemes": {"token": dict(TOKEN)},
            "schemas": {
                "Envelope": _envelope(),
                "Receipt": _receipt(),
                "Problem": problem(REASONS.values(), event_id=_DEAD_LETTER),
            },
        },
    }


def _webhooks() -> dict[str, Any]:
    accepted = {
        "202": {
            "description": "Accepted: Kafka's in-sync replicas have it (published), or the bridge's disk (spooled).",
            "content": {"application/json": {"schema": reference("Receipt")}},
        }
    }
    return {
        "operationId": "receiveWebhook",
        "summary": "Take one inserted, updated or deleted row.",
        "security": [{"token": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": reference("Envelope")}},
        },
        "responses": accepted | refusals(*REASONS.values()),
    }


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
                "anyOf": [{"required": ["id"]}, {"required": list(ENTITIES["contacts_addresses"].identity)}],
                "properties": {
                    "id": {"type": "string", "minLength": 1},
                    "organization_id": {"type": ["string", "null"]},
                    "conversation_id": {"type": ["string", "null"]},
                    "service": {},
                    "address": {},
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
