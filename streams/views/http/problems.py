"""Errors as RFC 9457 problem details."""

from collections.abc import Iterable

from starlette.responses import Response

from avro.jsontext import MalformedJsonError, decode, encode
from openbsp.http.problems import MEDIA_TYPE, Reason, content
from streams.views.http.reasons import NOT_READY, REASONS

RETRY_AFTER_S = 1


class ProblemError(Exception):
    """An answer that is a problem. `detail` is for people, `partitions` names those that are not ready."""

    def __init__(self, reason: Reason, detail: str, *, partitions: frozenset[int] = frozenset()) -> None:
        """Take what the answer says."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.partitions = partitions


def not_ready(detail: str, partitions: Iterable[int] = ()) -> ProblemError:
    """Return the error of what cannot be answered yet; `partitions` are those that it is for."""
    return ProblemError(NOT_READY, detail, partitions=frozenset(partitions))


def relayed(body: bytes, partitions: Iterable[int]) -> ProblemError:
    """Return the error that another worker has answered with."""
    try:
        given = decode(body)
        return ProblemError(
            REASONS[given["reason"]], given["detail"], partitions=frozenset(given.get("partitions", ()))
        )
    except (MalformedJsonError, KeyError, TypeError, AttributeError):
        return not_ready("the partition's worker gave an answer that is none", partitions)


def problem(error: ProblemError, headers: dict[str, str] | None = None) -> Response:
    """Return the answer."""
    reason = error.reason
    body = content(reason, error.detail)
    headers = {"Cache-Control": "no-store"} | (headers or {})
    if error.partitions:
        body["partitions"] = sorted(error.partitions)
    if reason.status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = 'Bearer realm="views"'
    if reason.status == 503:  # noqa: PLR2004
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(encode(body), reason.status, headers, MEDIA_TYPE)
