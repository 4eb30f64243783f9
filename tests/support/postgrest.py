"""A stand-in for OpenBSP's REST API: answers as PostgREST does, over SQLite, on a port of 127.0.0.1.

Of PostgREST it has: `eq gt gte lt lte neq in is` filters, `order`, `limit`, `offset`, a cap on rows, Content-Range,
`Prefer: return=representation` and its error objects; of the gateway before it, the `apikey`. Rows are kept as JSON
text, so numbers come out as they went in.
"""

import contextlib
import json
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from avro import jsontext

_OPERATORS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NAME = re.compile(r"[a-z_]+")

WEBHOOKS = ("id", "organization_id", "table_name", "operations", "url", "token", "created_at")


class Refusal(Exception):  # noqa: N818 it is the request that is refused
    """An answer with PostgREST's error object."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.problem = {"code": code, "message": message, "details": None, "hint": None}


class Postgrest(ThreadingHTTPServer):
    """The API with these tables. `failing` answers the next requests with that status."""

    daemon_threads = True

    def __init__(self, tables: tuple[str, ...], *, anon_key: str | None = None, most_rows: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tables = tables
        self.anon_key = anon_key
        self.api_key: str | None = None
        self.most_rows = most_rows
        self.failing: list[int] = []
        #: Whether row-level security lets rows be read and not changed.
        self.read_only = False
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute("CREATE TABLE stored (name TEXT, id TEXT, row TEXT, PRIMARY KEY (name, id))")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, table: str, **row: Any) -> dict[str, Any]:
        """Insert or replace a row."""
        row.setdefault("id", str(uuid.uuid4()))
        with self._lock:
            values = (table, row["id"], jsontext.encode_text(row))
            self._db.execute("INSERT OR REPLACE INTO stored VALUES (?, ?, ?)", values)
        return row

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table, by id."""
        with self._lock:
            found = self._db.execute("SELECT row FROM stored WHERE name = ? ORDER BY id", (table,)).fetchall()
        return [jsontext.decode(text.encode()) for (text,) in found]

    def select(self, table: str, query: list[tuple[str, str]]) -> list[str]:
        where, values = self._where(table, query)
        options = dict(query)
        order = [self._order(term) for term in options.get("order", "id").split(",")]
        limit = min(int(options.get("limit", self.most_rows)), self.most_rows)
        statement = f"SELECT row FROM stored WHERE {where} ORDER BY {', '.join(order)} LIMIT ? OFFSET ?"
        with self._lock:
            found = self._db.execute(statement, (*values, limit, int(options.get("offset", 0)))).fetchall()
        return [text for (text,) in found]

    def change(self, table: str, query: list[tuple[str, str]], columns: dict[str, Any] | None) -> list[str]:
        """Set columns of the rows that are found, or delete them."""
        found = [] if self.read_only else self.select(table, query)
        changed = [jsontext.decode(text.encode()) for text in found]
        for row in changed:
            if columns is None:
                with self._lock:
                    self._db.execute("DELETE FROM stored WHERE name = ? AND id = ?", (table, row["id"]))
            else:
                row.update(columns)
                self.put(table, **row)
        return [jsontext.encode_text(row) for row in changed]

    def _where(self, table: str, query: list[tuple[str, str]]) -> tuple[str, list[Any]]:
        clauses, values = ["name = ?"], [table]
        for column, condition in query:
            if column in {"order", "limit", "offset", "select"}:
                continue
            operator, _, value = condition.partition(".")
            if operator in _OPERATORS:
                clauses.append(f"{self._column(column)} {_OPERATORS[operator]} ?")
                values.append(value)
            elif operator == "in":
                members = [member.strip('"') for member in value.strip("()").split(",")]
                clauses.append(f"{self._column(column)} IN ({', '.join('?' * len(members))})")
                values += members
            elif condition == "is.null":
                clauses.append(f"{self._column(column)} IS NULL")
            else:
                raise Refusal(400, "PGRST100", f'"failed to parse filter ({condition})" (line 1, column 1)')
        return " AND ".join(clauses), values

    def _order(self, term: str) -> str:
        column, _, direction = term.partition(".")
        return f"{self._column(column)} {'DESC' if direction.startswith('desc') else 'ASC'}"

    def _column(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise Refusal(400, "42703", f"column {name} does not exist")
        return f"json_extract(row, '$.{name}')"


class _Handler(BaseHTTPRequestHandler):
    server: Postgrest
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 the names in http.server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.server.requests.append((self.command, self.path))
        try:
            rows = self._do(parts.path, parse_qsl(parts.query), body)
        except Refusal as refusal:
            self._send(refusal.status, json.dumps(refusal.problem).encode())
            return
        if self.command == "GET":
            last = f"0-{len(rows) - 1}" if rows else "*"
            self._send(200, f"[{','.join(rows)}]".encode(), {"Content-Range": f"{last}/*"})
        elif "return=representation" in self.headers.get("Prefer", ""):
            self._send(201 if self.command == "POST" else 200, f"[{','.join(rows)}]".encode())
        else:
            self._send(201 if self.command == "POST" else 204, b"")

    def _do(self, path: str, query: list[tuple[str, str]], body: bytes) -> list[str]:
        if self.server.failing:
            raise Refusal(self.server.failing.pop(0), "XX000", "the database is starting up")
        if self.server.anon_key is not None and self.headers.get("apikey") != self.server.anon_key:
            raise Refusal(401, "", "No API key found in request")
        root, _, table = path.rpartition("/")
        if root != "/rest/v1" or table not in self.server.tables:
            raise Refusal(404, "PGRST205", f"Could not find the table 'public.{table}' in the schema cache")
        if self.command == "GET":
            return self.server.select(table, query)
        if self.server.api_key is not None and self.headers.get("api-key") != self.server.api_key:
            raise Refusal(403, "42501", f'new row violates row-level security policy for table "{table}"')
        columns = jsontext.decode(body) if body else None
        unknown = set(columns or ()) - set(WEBHOOKS) if table == "webhooks" else set()
        if unknown:
            raise Refusal(400, "42703", f'column "{min(unknown)}" of relation "{table}" does not exist')
        if self.command == "POST":
            return [jsontext.encode_text(self.server.put(table, **(columns or {})))]
        return self.server.change(table, query, columns if self.command == "PATCH" else None)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


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
