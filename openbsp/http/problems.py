"""Refusals as RFC 9457 problem details: each has one reason, a stable word in answer, log, metric and documentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

TYPE = "urn:openbsp:stream-bridge:"
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code, the HTTP status that goes with it, and what it tells the one who reads it."""

    code: str
    status: int
    title: str
    meaning: str


def by_code(*reasons: Reason) -> Mapping[str, Reason]:
    """Return the reasons of a service by their codes, in this order."""
    return MappingProxyType({reason.code: reason for reason in reasons})


def content(reason: Reason, detail: str) -> dict[str, Any]:
    """Return the members that every problem has. `detail` is for people."""
    return {
        "type": TYPE + reason.code,
        "title": reason.title,
        "status": reason.status,
        "detail": detail,
        "reason": reason.code,
    }
