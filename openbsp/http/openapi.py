"""The common parts of the services' OpenAPI descriptions: refusals, the bearer token, probes."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from openbsp.http.problems import MEDIA_TYPE, RETRY_AFTER_S, TYPE, Reason

#: Under `components/securitySchemes`.
TOKEN: Mapping[str, str] = MappingProxyType({"type": "http", "scheme": "bearer"})


def reference(schema: str) -> dict[str, str]:
    """Return the reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def refusals(
    *reasons: Reason, members: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> dict[str, dict[str, Any]]:
    """Return the responses of an operation that may be refused for these reasons.

    `members` has examples of the additional members of some reasons' problems, by their codes.
    """
    responses: dict[str, dict[str, Any]] = {}
    for reason in reasons:
        status = str(reason.status)
        text = f"`{reason.code}`: {reason.meaning}"
        if status in responses:
            responses[status]["description"] += f" {text}"
        else:
            responses[status] = {
                "description": text,
                "content": {MEDIA_TYPE: {"schema": reference("Problem"), "examples": {}}},
            }
            if reason.status == HTTPStatus.SERVICE_UNAVAILABLE:
                seconds = {"type": "integer", "examples": [RETRY_AFTER_S]}
                responses[status]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": seconds}}
        example = {
            "type": TYPE + reason.code,
            "title": reason.title,
            "status": reason.status,
            "detail": reason.meaning,
            "reason": reason.code,
            **members.get(reason.code, {}),
        }
        responses[status]["content"][MEDIA_TYPE]["examples"][reason.code] = {"value": example}
    return responses


def problem(reasons: Iterable[Reason], **members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a refusal; `members` are the schemas of additional members."""
    known = list(reasons)
    properties = {
        "type": {"enum": sorted(TYPE + reason.code for reason in known), "description": "The reason as a URN."},
        "title": {"type": "string"},
        "status": {"enum": sorted({reason.status for reason in known})},
        "detail": {"type": "string", "description": "For humans; never quotes a body."},
        "reason": {"enum": sorted(reason.code for reason in known)},
    }
    return {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": list(properties),
        "properties": properties | members,
    }


def probe(operation: str, summary: str, **responses: Any) -> dict[str, Any]:
    """Return an operation that needs no token; `responses` by status, with a letter before it: `_200`."""
    return {
        "operationId": operation,
        "summary": summary,
        "security": [{}],
        "responses": {status.removeprefix("_"): response for status, response in responses.items()},
    }


def description(operation: str, summary: str) -> dict[str, Any]:
    """Return the operation of a document that describes the service."""
    return probe(
        operation,
        summary,
        _200={"description": "The document.", "content": {"application/json": {"schema": {"type": "object"}}}},
    )


def metrics(summary: str, security: list[dict[str, list[str]]], *reasons: Reason) -> dict[str, Any]:
    """Return the operation of the metrics."""
    found = {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "operationId": "readMetrics",
        "summary": summary,
        "security": security,
        "responses": {"200": found} | refusals(*reasons),
    }
