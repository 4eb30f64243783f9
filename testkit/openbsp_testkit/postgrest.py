"""A stand-in for OpenBSP's REST API: answers as PostgREST does, over SQLite, on a port.

Of PostgREST it has: the filters `eq neq gt gte lt lte in is`, `or` and `and` with quoted values, `select`, `order`,
`limit`, `offset`, the Range header, a cap on rows, `Prefer: count=exact` and `return=representation`, Content-Range
with 206 for a part, and its error objects; of the gateway before it, the `apikey`; of OpenBSP, row-level security by
the `api-key`, which shows nothing rather than refuse. Instants are compared as instants. Rows are kept as JSON text, so
numbers come out as they went in.
"""

import contextlib
import json
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

_OPERATORS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NAME = re.compile(r"[a-z_]+")
_INSTANT_NAME = re.compile(r"timestamp|[a-z_]+_at")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d(?::?\d\d)?)")
_OPTIONS = frozenset({"order", "limit", "offset", "select"})
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DECIMAL = re.compile(r'"\\u0000decimal (-?[0-9.E+-]+)"')

#: The columns of OpenBSP's table `webhooks`.
WEBHOOKS = ("id", "organization_id", "table_name", "operations", "url", "token", "created_at")

#: Primary keys of OpenBSP's tables that are not the column `id`.
_KEYS = {"contacts_addresses": ("organization_id", "service", "address")}

Query = list[tuple[str, str]]


class Refusal(Exception):  # noqa: N818 it is the request that is refused
    """An answer with PostgREST's error object."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Set the answer."""
        super().__init__(message)
        self.status = status
        self.problem = {"code": code, "message": message, "details": None, "hint": None}


class Postgrest(ThreadingHTTPServer):
    """The API with these tables; public attributes may be set while it runs.

    `anon_key` is the required `apikey`, `api_key` the `api-key` required for changes, `readers` the organizations whose
    rows an `api-key` sees (None: each key sees all). `most_rows` is the cap of an answer. `failing` has the statuses of
    the next answers, `retry_after` their header; `instead` is answered with status 200 in place of rows.
    """

    daemon_threads = True

    def __init__(
        self,
        tables: tuple[str, ...],
        *,
        anon_key: str | None = None,
        most_rows: int = 1000,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """Listen at `address`, by default a free port that only this machine reaches; `serve_forever` answers."""
        super().__init__(address, _Handler)
        self.tables = tables
        self.anon_key = anon_key
        self.api_key: str | None = None
        self.readers: Mapping[str, frozenset[str]] | None = None
        self.most_rows = most_rows
        self.failing: list[int] = []
        self.retry_after: str | None = None
        self.instead: bytes | None = None
        #: Seconds by which the clock in answers is ahead.
        self.ahead_s = 0.0
        #: Whether ids are UUIDs, as OpenBSP's are: other texts are refused.
        self.uuids = False
        #: Whether row-level security makes rows read-only.
        self.read_only = False
        #: Method and path of each request.
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.create_function("instant", 1, _micros, deterministic=True)
        self._db.execute(
            "CREATE TABLE stored (name TEXT, id TEXT, organization TEXT, updated INTEGER, row TEXT,"
            " PRIMARY KEY (name, id))"
        )
        self._db.execute("CREATE INDEX by_update ON stored (name, updated, id)")

    @property
    def url(self) -> str:
        """Base address, for OPENBSP_URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, table: str, **row: Any) -> dict[str, Any]:
        """Insert or replace a row; without `id` it gets one, if its table has that column."""
        if table not in _KEYS:
            row.setdefault("id", str(uuid.uuid4()))
        self.put_all(table, [row])
        return row

    def put_all(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Insert or replace many rows."""
        values = [
            (table, _id_of(table, row), row.get("organization_id"), _micros(row.get("updated_at")), _text(row))
            for row in rows
        ]
        with self._lock:
            self._db.executemany("INSERT OR REPLACE INTO stored VALUES (?, ?, ?, ?, ?)", values)

    def remove(self, table: str, *ids: str) -> None:
        """Delete rows."""
        with self._lock:
            self._db.executemany("DELETE FROM stored WHERE name = ? AND id = ?", [(table, id_) for id_ in ids])

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table, by id."""
        with self._lock:
            found = self._db.execute("SELECT row FROM stored WHERE name = ? ORDER BY id", (table,)).fetchall()
        return [json.loads(text, parse_float=Decimal) for (text,) in found]

    def select(self, table: str, query: Query, reader: str | None = None) -> tuple[list[str], int]:
        """Return the JSON texts of a query's rows, and how many it finds without its limit."""
        where, values = self._where(table, query, reader)
        options = dict(query)
        columns = _Columns(table not in _KEYS, self.uuids)
        # Rows without `order` have any order; here that of their primary key.
        order = [columns.order(term) for term in options["order"].split(",")] if "order" in options else ["id"]
        names = options.get("select", "*")
        for name in () if names == "*" else names.split(","):
            columns.column(name)
        limit = min(int(options.get("limit", self.most_rows)), self.most_rows)
        statement = f"SELECT row FROM stored WHERE {where} ORDER BY {', '.join(order)} LIMIT ? OFFSET ?"  # noqa: S608
        with self._lock:
            found = self._db.execute(statement, (*values, limit, int(options.get("offset", 0)))).fetchall()
            (total,) = self._db.execute(f"SELECT count(*) FROM stored WHERE {where}", values).fetchone()  # noqa: S608
        return [_selected(text, names) for (text,) in found], total

    def change(self, table: str, query: Query, columns: dict[str, Any] | None) -> list[str]:
        """Set columns of the matching rows, or delete them (None)."""
        found = [] if self.read_only else self.select(table, [term for term in query if term[0] != "select"])[0]
        changed = [json.loads(text, parse_float=Decimal) for text in found]
        for row in changed:
            if columns is None:
                self.remove(table, _id_of(table, row))
            else:
                row.update(columns)
                self.put(table, **row)
        return [_text(row) for row in changed]

    def _where(self, table: str, query: Query, reader: str | None) -> tuple[str, list[Any]]:
        clauses, values = ["name = ?"], [table]
        columns = _Columns(table not in _KEYS, self.uuids)
        if self.readers is not None and table != "webhooks":
            shown = sorted(self.readers.get(reader or "", ()))
            clauses.append(f"organization IN ({', '.join('?' * len(shown))})")
            values += shown
        for name, condition in query:
            if name in _OPTIONS:
                continue
            if name in {"or", "and"}:
                clause, more = _combined(name, condition, columns)
            else:
                clause, more = columns.condition(name, condition)
            clauses.append(clause)
            values += more
        return " AND ".join(clauses), values


def _id_of(table: str, row: Mapping[str, Any]) -> str:
    """Return a row's primary key."""
    key = _KEYS.get(table)
    return str(row["id"]) if key is None else json.dumps([row[name] for name in key], ensure_ascii=False)


class _Columns(NamedTuple):
    """Columns of a table in queries, as SQL."""

    #: Whether it has the column `id`.
    has_id: bool
    #: Whether ids are UUIDs.
    uuids: bool

    def condition(self, name: str, condition: str) -> tuple[str, list[Any]]:
        """Return a filter, such as `gt.5`."""
        column = self.column(name)
        operator, _, value = condition.partition(".")
        if operator in _OPERATORS:
            return f"{column} {_OPERATORS[operator]} ?", [self._value(name, _unquoted(value))]
        if operator == "in":
            members = [self._value(name, _unquoted(member)) for member in _terms(value)]
            return f"{column} IN ({', '.join('?' * len(members))})", members
        if condition == "is.null":
            return f"{column} IS NULL", []
        raise Refusal(400, "PGRST100", f'"failed to parse filter ({condition})" (line 1, column 1)')

    def order(self, term: str) -> str:
        """Return a term of `order`, such as `updated_at.desc.nullslast`."""
        name, *words = term.split(".")
        descending = "desc" in words
        nulls_first = "nullsfirst" in words or (descending and "nullslast" not in words)
        direction = "DESC" if descending else "ASC"
        return f"{self.column(name)} {direction} NULLS {'FIRST' if nulls_first else 'LAST'}"

    def column(self, name: str) -> str:
        """Return a column."""
        if not _NAME.fullmatch(name) or (name == "id" and not self.has_id):
            raise Refusal(400, "42703", f"column {name} does not exist")
        if name in {"id", "organization_id", "updated_at"}:
            return {"id": "id", "organization_id": "organization", "updated_at": "updated"}[name]
        extracted = f"json_extract(row, '$.{name}')"
        return f"instant({extracted})" if _INSTANT_NAME.fullmatch(name) else extracted

    def _value(self, name: str, text: str) -> str | int:
        if self.uuids and name in {"id", "organization_id"}:
            try:
                return str(uuid.UUID(text))
            except ValueError:
                raise Refusal(400, "22P02", f'invalid input syntax for type uuid: "{text}"') from None
        if not _INSTANT_NAME.fullmatch(name):
            return text
        micros = _micros(text)
        if micros is None:
            raise Refusal(400, "22007", f'invalid input syntax for type timestamp with time zone: "{text}"')
        return micros


def _combined(word: str, text: str, columns: _Columns) -> tuple[str, list[Any]]:
    """Return `(a.op.x,and(b.op.y,...))` as SQL."""
    clauses: list[str] = []
    values: list[Any] = []
    for term in _terms(text):
        nested = re.match(r"(or|and)(?=\()", term)
        if nested is not None:
            clause, more = _combined(nested[1], term[nested.end() :], columns)
        else:
            name, _, condition = term.partition(".")
            clause, more = columns.condition(name, condition)
        clauses.append(clause)
        values += more
    return f"({f' {word.upper()} '.join(clauses)})", values


def _terms(text: str) -> list[str]:
    """Return the terms of a comma-separated list in parentheses."""
    if not (text.startswith("(") and text.endswith(")")):
        raise Refusal(400, "PGRST100", f'"failed to parse logic tree ({text})" (line 1, column 1)')
    terms, term, depth, quoted, escaped = [], "", 0, False, False
    for character in text[1:-1]:
        if quoted:
            quoted = character != '"' or escaped
            escaped = character == "\\" and not escaped
        elif character == "," and not depth:
            terms.append(term)
            term = ""
            continue
        else:
            quoted = character == '"'
            depth += (character == "(") - (character == ")")
        term += character
    return [*terms, term] if term or terms else []


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == '"' == text[-1:] and len(text) > 1 else text


def _micros(text: object) -> int | None:
    """Return the microseconds since the epoch of an instant as PostgreSQL reads it."""
    found = _INSTANT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    sign, digits = offset[0], offset[1:].replace(":", "")
    ahead = timedelta() if sign == "Z" else timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    at = datetime.fromisoformat(f"{day}T{clock}+00:00") - (-ahead if sign == "-" else ahead)
    return (at - _EPOCH) // timedelta(microseconds=1) + int((fraction or "0").ljust(6, "0"))


def _text(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, separators=(",", ":"), ensure_ascii=False, default=_marked)
    return _DECIMAL.sub(r"\1", text)


def _marked(value: object) -> str:
    if isinstance(value, Decimal):
        return f"\0decimal {value}"
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _selected(text: str, columns: str) -> str:
    if columns == "*":
        return text
    row = json.loads(text, parse_float=Decimal)
    return _text({name: row.get(name) for name in columns.split(",")})


class _Handler(BaseHTTPRequestHandler):
    server: Postgrest
    protocol_version = "HTTP/1.1"
    # Trap: headers and body are two writes, and the second would wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 the names in http.server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.server.requests.append((self.command, self.path))
        prefer = self.headers.get("Prefer", "")
        try:
            query = self._ranged(parse_qsl(parts.query, keep_blank_values=True))
            rows, total = self._do(parts.path, query, body)
        except Refusal as refusal:
            wait = {} if self.server.retry_after is None else {"Retry-After": self.server.retry_after}
            self._send(refusal.status, json.dumps(refusal.problem).encode(), wait)
            return
        answer = f"[{','.join(rows)}]".encode()
        if self.command == "GET" and self.server.instead is not None:
            self._send(200, self.server.instead)
        elif self.command == "GET":
            first = int(dict(query).get("offset", 0))
            place = f"{first}-{first + len(rows) - 1}" if rows else "*"
            counted = "count=exact" in prefer
            headers = {"Content-Range": f"{place}/{total if counted else '*'}"}
            self._send(206 if counted and len(rows) < total else 200, answer, headers)
        elif "return=representation" in prefer:
            self._send(201 if self.command == "POST" else 200, answer)
        else:
            self._send(201 if self.command == "POST" else 204, b"")

    def _ranged(self, query: Query) -> Query:
        """Return the query with the Range header in it, such as `0-24`, which PostgREST takes for limit and offset."""
        found = re.fullmatch(r"(\d+)-(\d*)", self.headers.get("Range", ""))
        if found is None or self.command != "GET":
            return query
        first, last = int(found[1]), found[2]
        return [*query, ("offset", str(first)), *([("limit", str(int(last) - first + 1))] if last else [])]

    def _do(self, path: str, query: Query, body: bytes) -> tuple[list[str], int]:
        server = self.server
        if server.failing:
            raise Refusal(server.failing.pop(0), "XX000", "the database is starting up")
        if server.anon_key is not None and self.headers.get("apikey") != server.anon_key:
            raise Refusal(401, "", "No API key found in request")
        root, _, table = path.rpartition("/")
        if root != "/rest/v1" or table not in server.tables:
            raise Refusal(404, "PGRST205", f"Could not find the table 'public.{table}' in the schema cache")
        key = self.headers.get("api-key")
        if self.command == "GET":
            return server.select(table, query, key)
        if server.api_key is not None and key != server.api_key:
            raise Refusal(403, "42501", f'new row violates row-level security policy for table "{table}"')
        columns = json.loads(body, parse_float=Decimal) if body else None
        unknown = set(columns or ()) - set(WEBHOOKS) if table == "webhooks" else set()
        if unknown:
            raise Refusal(400, "42703", f'column "{min(unknown)}" of relation "{table}" does not exist')
        if self.command == "POST":
            return [_text(server.put(table, **(columns or {})))], 1
        changed = server.change(table, query, columns if self.command == "PATCH" else None)
        return changed, len(changed)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the header Date."""
        return super().date_time_string(time.time() + self.server.ahead_s if timestamp is None else timestamp)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def running_postgrest(*tables: str, **options: Any) -> Iterator[Postgrest]:
    """Serve these tables, `webhooks` among them."""
    with Postgrest(("webhooks", *tables), **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
