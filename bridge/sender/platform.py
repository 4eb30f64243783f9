"""OpenBSP's REST API as PostgREST serves it: rows of tables, read and written."""

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from avro import jsontext
from bridge.sender.errors import AnswerTooLargeError, PlatformBusyError, PlatformError, UnfitValueError
from bridge.sender.settings import OpenBspSettings

Row = dict[str, Any]

#: PostgreSQL's and PostgREST's codes, with their meaning here (docs of PostgREST, "Errors").
_MEANINGS = {
    "42501": "the key has no right to do that: use an API key of an owner or administrator in OPENBSP_API_KEY",
    "42P01": "there is no such table: is this the API of an OpenBSP?",
    "42703": "a column is missing: this release of OpenBSP is older or newer than what is known here",
    "PGRST205": "there is no such table: is this the API of an OpenBSP?",
    "PGRST301": "the key is not accepted: check OPENBSP_ANON_KEY and OPENBSP_API_KEY",
}
#: PostgreSQL's, for a text that is no UUID, and for one with a character that no text can have.
_UNFIT = frozenset({"22P02", "22021"})
_MOST_ANSWER_CHARACTERS = 200

#: Of PostgREST's Content-Range, `0-99/1234`, the part after the slash.
_TOTAL = re.compile(r"(?:\d+-\d+|\*)/(\d+)")


class Page(NamedTuple):
    """A page of a query's rows, the bytes of the answer, and the total number if requested.

    `at` is when the server answered, by its clock, in seconds since the epoch; None if it does not say.
    """

    rows: list[Row]
    size: int
    total: int | None
    at: float | None


class Platform:
    """A client of one OpenBSP. All methods raise PlatformError."""

    def __init__(self, settings: OpenBspSettings) -> None:
        """Connect to nothing yet. `settings.url` must be set."""
        if settings.url is None:
            raise PlatformError("OPENBSP_URL is not set: set it to the base address of OpenBSP's API")
        keys = {"apikey": settings.anon_key, "api-key": settings.api_key}
        # A line feed at the end of the key's file is not part of it.
        headers = {name: key.get_secret_value().strip() for name, key in keys.items() if key is not None}
        if not all(map(is_word, headers.values())):
            raise PlatformError(
                "a key is empty, or has a character that no key has: check OPENBSP_ANON_KEY and OPENBSP_API_KEY"
            )
        self._base = settings.url.rstrip("/")
        try:
            self._client = httpx.Client(base_url=f"{self._base}/rest/v1", headers=headers, timeout=settings.timeout_s)
        except httpx.InvalidURL as error:
            raise PlatformError(f"{self._base} is not a valid address: {error}; check OPENBSP_URL") from None

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def rows(self, table: str, **query: str) -> list[Row]:
        """Return a query's rows: columns with PostgREST's operators (`eq.x`), `order`, `limit`."""
        return self._rows(self._ask("GET", table, query))

    def page(self, table: str, query: Sequence[tuple[str, str]], *, most_bytes: int, exact_count: bool = False) -> Page:
        """Return a query's rows; a name may occur in it more than once.

        `exact_count` makes the server count all matching rows. Raises AnswerTooLargeError, PlatformBusyError and
        UnfitValueError.
        """
        headers = {"Prefer": "count=exact"} if exact_count else {}
        try:
            with self._client.stream("GET", f"/{table}", params=list(query), headers=headers) as answer:
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > most_bytes:
                        raise AnswerTooLargeError(f"{self._base}: an answer of more than {most_bytes} bytes")
        except httpx.TimeoutException:
            raise PlatformBusyError(self._no_answer()) from None
        except httpx.HTTPError as error:
            raise PlatformBusyError(self._not_reached(error)) from None
        whole = httpx.Response(answer.status_code, headers=_plain_headers(answer), content=bytes(body))
        if not whole.is_success:
            text = f"{self._base} refused GET {table} with {whole.status_code}: {_meaning(whole)}"
            if whole.status_code == HTTPStatus.TOO_MANY_REQUESTS or whole.is_server_error:
                raise PlatformBusyError(text, _after_s(whole.headers.get("Retry-After")))
            raise UnfitValueError(text) if str(_problem(whole).get("code")) in _UNFIT else PlatformError(text)
        total = _TOTAL.fullmatch(whole.headers.get("Content-Range", ""))
        at = _moment(whole.headers.get("Date", ""))
        return Page(self._rows(self._decoded(whole)), len(body), None if total is None else int(total[1]), at)

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Insert a row."""
        self._ask("POST", table, {}, row)

    def update(self, table: str, row_id: str, columns: Mapping[str, Any]) -> None:
        """Set columns of the row with this id."""
        self._change("PATCH", table, row_id, columns)

    def delete(self, table: str, row_id: str) -> None:
        """Delete the row with this id."""
        self._change("DELETE", table, row_id)

    def _change(self, method: str, table: str, row_id: str, columns: Mapping[str, Any] | None = None) -> None:
        # Trap: a row that the key may read and not change does not exist for PostgREST, which reports success.
        if self._ask(method, table, {"id": f"eq.{row_id}", "select": "id"}, columns) == []:
            raise PlatformError(f"{self._base} changed no row at {method} {table}: {_MEANINGS['42501']}")

    def _ask(self, method: str, table: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Any:
        content = None if body is None else jsontext.encode(body)
        headers = {"Content-Type": "application/json"}
        told = method != "POST"
        if told:
            headers["Prefer"] = "return=representation"
        try:
            answer = self._client.request(method, f"/{table}", params=query, content=content, headers=headers)
        except httpx.TimeoutException:
            raise PlatformError(self._no_answer()) from None
        except httpx.HTTPError as error:
            raise PlatformError(self._not_reached(error)) from None
        if answer.is_success:
            return self._decoded(answer) if told else None
        raise PlatformError(f"{self._base} refused {method} {table} with {answer.status_code}: {_meaning(answer)}")

    def _no_answer(self) -> str:
        return f"{self._base} did not answer within {self._client.timeout.read:g} s"

    def _not_reached(self, error: httpx.HTTPError) -> str:
        return f"{self._base} cannot be reached: {type(error).__name__}; check OPENBSP_URL"

    def _decoded(self, answer: httpx.Response) -> Any:
        try:
            # Not answer.json(): numbers must keep every digit.
            return jsontext.decode(answer.content)
        except (jsontext.MalformedJsonError, RecursionError):
            raise PlatformError(f"{self._base} does not answer with JSON: is this the API of an OpenBSP?") from None

    def _rows(self, answer: Any) -> list[Row]:
        if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
            raise PlatformError(f"{self._base} does not answer with rows: is this the API of an OpenBSP?")
        return answer


def is_word(text: str) -> bool:
    """Return whether a key or token can be sent in a header: it is not empty, in ASCII, and has no white space."""
    return re.fullmatch(r"[!-~]+", text) is not None


def _plain_headers(answer: httpx.Response) -> dict[str, str]:
    """Return the headers without those of a decoded encoding."""
    return {name: value for name, value in answer.headers.items() if name.lower() != "content-encoding"}


def _after_s(text: str | None) -> float | None:
    """Return the seconds that a Retry-After asks to wait: it is a number, or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    at = _moment(text)
    return None if at is None else max(0.0, at - time())


def _moment(text: str) -> float | None:
    """Return the moment of an HTTP date, in seconds since the epoch; None if it is invalid."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _problem(answer: httpx.Response) -> dict[str, Any]:
    """Return PostgREST's error object; an empty one if there is none."""
    try:
        problem = answer.json()
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _meaning(answer: httpx.Response) -> str:
    problem = _problem(answer)
    if "message" not in problem:
        return "not the answer of an OpenBSP; check OPENBSP_URL"
    known = _MEANINGS.get(str(problem.get("code")))
    if known is not None:
        return known
    if answer.status_code in {401, 403}:
        return _MEANINGS["PGRST301"]
    return str(problem["message"])[:_MOST_ANSWER_CHARACTERS]
