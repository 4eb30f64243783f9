"""`make column TABLE=messages NAME=reply_to TYPE=text`: gives a column a field of its own, in all its places.

`avro/columns.py`, schemas and examples of event and state, views and their example, the reference model of the tests,
and what the documented payloads lead to. What is left to a person is said at the end. docs/howto/column.md has the
whole way, and what readers are told.
"""

import argparse
import ast
import json
import keyword
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]

_INSTANT = {"type": "long", "logicalType": "timestamp-micros"}


class Type(NamedTuple):
    """A type of columns: in Avro, in the views and what makes it there, in the reference model, and a value of it."""

    avro: Any
    view: str
    rendered: str
    model: str
    value: str


TYPES = {
    "text": Type("string", "str", 'get("{name}")', "TEXTS", "{name}-1"),
    "instant": Type(_INSTANT, "datetime", '_instant(get("{name}"))', "INSTANTS", "2026-05-06T03:39:25+00:00"),
    "json": Type("string", "Raw", '_value(get("{name}"))', "JSONS", '{{"{name}":1}}'),
}
#: Of each table: its records, and its class in the views if it is shown there.
TABLES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "messages": (("MessageEvent", "MessageState"), "Message"),
    "conversations": (("ConversationEvent", "ConversationState"), "Conversation"),
    "contacts": (("ContactEvent",), None),
    "contacts_addresses": (("ContactAddressEvent",), None),
}
#: Characters of a line with the names of columns.
_WIDTH = 96


class ColumnError(Exception):
    """The column cannot be added; the message says why, or what to do by hand."""


class Column:
    """A column to be, and the files of a checkout that it changes."""

    def __init__(self, root: Path, table: str, name: str, kind: str, doc: str) -> None:
        if table not in TABLES:
            raise ColumnError(f"there is no table {table!r}; there are: {', '.join(TABLES)}")
        if kind not in TYPES:
            raise ColumnError(
                f"there is no type {kind!r}; there are: {', '.join(TYPES)} (also for numbers and booleans)"
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ColumnError(f"{name!r} is no name of a column: small letters, digits and underscores")
        self._root, self._table, self._name, self._doc = root, table, name, doc
        self._type, self._value = TYPES[kind], TYPES[kind].value.format(name=name)
        self._changed: dict[Path, str] = {}

    def add(self) -> list[Path]:
        """Change all files, or none: return them. Raises ColumnError."""
        records, view = TABLES[self._table]
        for record in records:
            self._schema(record)
        self._declared()
        if view is not None:
            self._views(view)
        self._model()
        self._outcome()
        for path, text in self._changed.items():
            path.write_text(text, "utf-8")
        return list(self._changed)

    def _schema(self, record: str) -> None:
        """Add the field to the version that is not released yet, or to a new one, with its examples."""
        schemas, examples = self._root / "avro" / "schemas", self._root / "avro" / "examples"
        newest = max(int(path.name.split(".")[1][1:]) for path in schemas.glob(f"{record}.v*.avsc"))
        released = f" {record}.v{newest}.avsc\n" in (schemas / "released.lock").read_text("utf-8")
        version = newest + released
        schema = json.loads((schemas / f"{record}.v{newest}.avsc").read_text("utf-8"))
        if self._name in {field["name"] for field in schema["fields"]}:
            raise ColumnError(f"{record}.v{newest} has a field {self._name} already, of the column or of its own")
        field = {"name": self._name, "type": ["null", self._type.avro], "doc": self._doc, "default": None}
        schema["fields"].append(field)
        shown = json.loads((examples / f"{record}.v{newest}.json").read_text("utf-8"))
        for example in shown["accepted"]:
            self._out_of_extra(example["value"])
        # In the one that shows most, but none that a documented payload must be equal to.
        fullest = max(
            (example["value"] for example in shown["accepted"] if "documented" not in example["title"]), key=len
        )
        fullest.setdefault(self._name, self._value)
        self._write(schemas / f"{record}.v{version}.avsc", _json(schema))
        self._write(examples / f"{record}.v{version}.json", _json(shown))

    def _out_of_extra(self, fields: dict[str, Any]) -> None:
        """Put the column into its field where an example has it in `extra`, as writers do from now on."""
        text = fields.get("extra", {}).get(self._name)
        value = text if text is None or self._type is TYPES["json"] else json.loads(text)
        if isinstance(value, str):
            del fields["extra"][self._name]
            fields[self._name] = value

    def _declared(self) -> None:
        """Add the name to the table's columns."""
        path = self._root / "avro" / "columns.py"
        text = path.read_text("utf-8")
        try:
            (call,) = (
                node.args[2]
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Call) and ast.unparse(node).startswith(f"Entity({self._table!r},")
            )
            names = [ast.literal_eval(argument).split() for argument in call.args]  # type: ignore[attr-defined]
            others = [ast.unparse(argument) for argument in call.keywords]  # type: ignore[attr-defined]
            written = str(ast.get_source_segment(text, call))
            kinds = {"TEXTS": names[0], "INSTANTS": names[1]}
        except (ValueError, IndexError, AttributeError):
            raise ColumnError(f"{path}: the columns of {self._table} are not where they were: add it by hand") from None
        if self._type.model in kinds:
            kinds[self._type.model].append(self._name)
        elif keyword.iskeyword(self._name):
            others.append(f'**{{"{self._name}": Kind.JSON}}')
        else:
            others.append(f"{self._name}=Kind.JSON")
        arguments = ", ".join([*map(_wrapped, names), *others])
        head, start, rest = text.partition(f'"{self._table}": Entity(')
        self._write(path, head + start + rest.replace(written, f"_columns({arguments})", 1))

    def _views(self, view: str) -> None:
        """Add the member after `updated_at`, to the class, to what makes one of it, and to the example."""
        path = self._root / "streams" / "views" / "read" / "render.py"
        text = path.read_text("utf-8")
        member = f"{self._name}: {self._type.view} | None"
        if keyword.iskeyword(self._name):
            member = f'{self._name}_: {self._type.view} | None = field(name="{self._name}")'
            text = text.replace("from msgspec import Raw, Struct\n", "from msgspec import Raw, Struct, field\n")
        for start, before, line in (
            (f"class {view}(Struct):", "    updated_at: datetime | None\n", f"    {member}\n"),
            (
                f"        {view}(\n",
                '            _instant(get("updated_at")),\n',
                f"            {self._type.rendered.format(name=self._name)},\n",
            ),
        ):
            head, found, tail = text.partition(start)
            body, anchor, after = tail.partition(before)
            if not (found and anchor):
                raise ColumnError(f"{path}: {start.strip()} is not as it was: add the member by hand")
            text = f"{head}{found}{body}{anchor}{line}{after}"
        self._write(path, text)
        path = self._root / "streams" / "views" / "http" / "examples.json"
        examples = json.loads(path.read_text("utf-8"))
        for shown in _with(examples, {"id", "updated_at", "extra", "external_id" if view == "Message" else "known"}):
            members = {}
            for member, value in shown.items():
                members[member] = value
                if member == "updated_at":
                    members[self._name] = shown["extra"].pop(self._name, None)
            shown.clear()
            shown.update(members)
        self._write(path, _json(examples))

    def _model(self) -> None:
        """Add the name to those that the reference model knows of this type."""
        path = self._root / "tests" / "support" / "received.py"
        changed, found = re.subn(
            rf'(^{self._type.model}\b[^=]*= (?s:.*?)"{self._table}": \[)([^]]*)\]',
            lambda there: there[1] + ", ".join(filter(None, [there[2].rstrip(", \n"), f'"{self._name}"'])) + "]",
            path.read_text("utf-8"),
            count=1,
            flags=re.MULTILINE,
        )
        if not found:
            raise ColumnError(f"{path}: the columns of {self._table} are not where they were: add it by hand")
        self._write(path, changed)

    def _outcome(self) -> None:
        """Put the column into its field in what the documented payloads lead to, where one of them has it."""
        path = self._root / "examples" / "expected.json"
        expected = json.loads(path.read_text("utf-8"))
        rows = {"messages": expected["messages"], "conversations": [expected["conversation"]]}.get(self._table, [])
        if any(self._name in row["extra"] for row in rows):
            for row in rows:
                self._out_of_extra(row)
            self._write(path, _json(expected))

    def _write(self, path: Path, text: str) -> None:
        self._changed[path] = text


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _wrapped(names: list[str]) -> str:
    """Return the names as one text of several literals."""
    return '"' + '"\n" '.join(textwrap.wrap(" ".join(names), _WIDTH)) + '"'


def _with(value: Any, members: set[str]) -> Iterator[dict[str, Any]]:
    """Find the objects that have all of these members."""
    if isinstance(value, dict):
        if value.keys() >= members:
            yield value
        for inner in list(value.values()):
            yield from _with(inner, members)
    elif isinstance(value, list):
        for inner in value:
            yield from _with(inner, members)


def main() -> int:
    """Add it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help=", ".join(TABLES))
    parser.add_argument("name", help="the column, as OpenBSP calls it")
    parser.add_argument("type", help=", ".join(TYPES))
    parser.add_argument("--doc", default="", help="what it is, for the pages (default: a sentence to be replaced)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    given = parser.parse_args()
    doc = given.doc or f"The column {given.name} of OpenBSP."
    try:
        changed = Column(given.root, given.table, given.name, given.type, doc).add()
    except ColumnError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{path.relative_to(given.root)}\n" for path in changed))
    sys.stdout.write(
        "\nNow: the field's `doc` in both schemas, a value in the examples; make fmt; make docs; make test-fast.\n"
        "When it is final: cd avro/schemas && sha256sum FILE >> released.lock, and the rest of docs/howto/column.md.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
