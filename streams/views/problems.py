"""Errors as RFC 9457 problem details."""

from collections.abc import Iterable

from starlette.responses import Response

from avro.jsontext import MalformedJsonError, decode
from openbsp.http import problems
from openbsp.http.problems import Reason, response
from streams.views.refusals import NOT_READY, REASONS


class ProblemError(Exception):
    """An answer that is a problem. `detail` is for people, `partitions` names those that are not ready.

    `passing`: the same worker may soon have an answer, so waiting is worthwhile.
    """

    def __init__(
        self, reason: Reason, detail: str, *, partitions: frozenset[int] = frozenset(), passing: bool = False
    ) -> None:
        """Set the members of the answer."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.partitions = partitions
        self.passing = passing


def not_ready(detail: str, partitions: Iterable[int] = (), *, passing: bool = True) -> ProblemError:
    """Return the error for a request that cannot be answered yet, because of `partitions`."""
    return ProblemError(NOT_READY, detail, partitions=frozenset(partitions), passing=passing)


def relayed(body: bytes, partitions: Iterable[int]) -> ProblemError:
    """Return the error that another worker has answered with."""
    try:
        given = decode(body)
        reason = REASONS[given["reason"]]
        return ProblemError(
            reason,
            given["detail"],
            partitions=frozenset(given.get("partitions", ())),
            passing=reason is NOT_READY,
        )
    except (MalformedJsonError, KeyError, TypeError, AttributeError):
        return not_ready("the partition's worker sent an invalid answer", partitions)


def problem(error: ProblemError, *, allow: str | None = None, retry_after_s: int | None = None) -> Response:
    """Return the answer; see openbsp.http.problems.problem."""
    members = {"partitions": sorted(error.partitions)} if error.partitions else None
    answer = problems.problem(error.reason, error.detail, members=members, allow=allow, retry_after_s=retry_after_s)
    return response(answer)
