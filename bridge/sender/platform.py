"""OpenBSP's REST API as PostgREST serves it: rows of tables, read and written."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from avro import jsontext
from bridge.sender.errors import PlatformError
from bridge.sender.settings import OpenBspSettings

Row = dict[str, Any]

#: PostgreSQL's and PostgREST's codes, with what they mean here (docs of PostgREST, "Errors").
_MEANINGS = {
    "42501": "the key has no right to do that: use an API key of an owner or administrator in OPENBSP_API_KEY",
    "42P01": "there is no such table: is this the API of an OpenBSP?",
    "42703": "a column is missing: this release of OpenBSP is older or newer than what is known here",
    "PGRST205": "there is no such table: is this the API of an OpenBSP?",
    "PGRST301": "the key is not accepted: check OPENBSP_ANON_KEY and OPENBSP_API_KEY",
}
_MOST_ANSWER_CHARACTERS = 200


class Platform:
    """A client of one OpenBSP. All methods raise PlatformError."""

    def __init__(self, settings: OpenBspSettings) -> None:
        """Connect to nothing yet. `settings.url` must be set."""
        if settings.url is None:
            raise PlatformError("where is OpenBSP? Set OPENBSP_URL to the base address of its API")
        keys = {"apikey": settings.anon_key, "api-key": settings.api_key}
        self._base = settings.url.rstrip("/")
        self._client = httpx.Client(
            base_url=f"{self._base}/rest/v1",
            headers={name: key.get_secret_value() for name, key in keys.items() if key is not None},
            timeout=settings.timeout_s,
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def rows(self, table: str, **query: str) -> list[Row]:
        """Return the rows that a query finds: columns with PostgREST's operators (`eq.x`), `order`, `limit`."""
        rows = self._ask("GET", table, query)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PlatformError(f"{self._base} does not answer with rows: is this the API of an OpenBSP?")
        return rows

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
        # Trap: a row that the key may read and not change is none to PostgREST, which answers that all is well.
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
            raise PlatformError(f"{self._base} did not answer within {self._client.timeout.read:g} s") from None
        except httpx.HTTPError as error:
            raise PlatformError(f"{self._base} cannot be reached: {type(error).__name__}; check OPENBSP_URL") from None
        if answer.is_success:
            try:
                # Not answer.json(): numbers must come through as they are.
                return jsontext.decode(answer.content) if told else None
            except jsontext.MalformedJsonError:
                raise PlatformError(f"{self._base} does not answer with JSON: is this the API of an OpenBSP?") from None
        raise PlatformError(f"{self._base} refused {method} {table} with {answer.status_code}: {_meaning(answer)}")


def _meaning(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "message" not in problem:
        return "not the answer of an OpenBSP; check OPENBSP_URL"
    known = _MEANINGS.get(str(problem.get("code")))
    if known is not None:
        return known
    if answer.status_code in {401, 403}:
        return _MEANINGS["PGRST301"]
    return str(problem["message"])[:_MOST_ANSWER_CHARACTERS]
