"""Avro binary encoding, compiled: for each schema a function that writes it and one that reads it.

fastavro interprets the schema for each value, which was a third of the join's and of the ingress's time. These
functions are generated from the schema once, as source, for the part of Avro that the project's schemas use (records,
maps, arrays, unions of null and one other type, string, bytes, long, int, double, boolean), and agree with fastavro
byte for byte (tests/property). They do not resolve: a value that another version wrote is read by fastavro.

Encoding: Apache Avro specification 1.12, "Binary encoding".
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any

Writer = Callable[[Mapping[str, Any]], bytes]
Reader = Callable[[bytes, int], tuple[dict[str, Any], int]]

_DOUBLE = Struct("<d")
_FAST_LENGTHS = 1024
#: Positive longs whose varint has eight bytes: those of present-day instants.
_EIGHT_BYTES_FROM, _EIGHT_BYTES_TO = 1 << 49, 1 << 56


class MalformedError(ValueError):
    """The bytes do not match the schema."""


def _long(value: int) -> bytes:
    """Write a long: zigzag, then seven bits a byte, lowest first."""
    bits = (value << 1) ^ (value >> 63)
    if _EIGHT_BYTES_FROM <= bits < _EIGHT_BYTES_TO:
        bits = (bits & 0xFFFFFFF) | (bits & 0xFFFFFFF0000000) << 4
        bits = (bits & 0x3FFF00003FFF) | (bits & 0xFFFC0000FFFC000) << 2
        bits = (bits & 0x7F007F007F007F) | (bits & 0x3F803F803F803F80) << 1
        return (bits | 0x80808080808080).to_bytes(8, "little")
    if not 0 <= bits < 1 << 64:
        raise OverflowError(f"{value} is not a long")
    written = bytearray()
    while bits > 0x7F:  # noqa: PLR2004 seven bits
        written.append(bits & 0x7F | 0x80)
        bits >>= 7
    written.append(bits)
    return bytes(written)


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    """Return a long and the index after it."""
    bits = int.from_bytes(data[at : at + 8], "little")
    if bits & 0x8080808080808080 == 0x80808080808080:  # noqa: PLR2004 seven continued bytes and a last one
        bits &= 0x7F7F7F7F7F7F7F7F
        bits = (bits & 0x7F007F007F007F) | (bits & 0x7F007F007F007F00) >> 1
        bits = (bits & 0x3FFF00003FFF) | (bits & 0x3FFF00003FFF0000) >> 2
        bits = (bits & 0xFFFFFFF) | (bits & 0xFFFFFFF00000000) >> 4
        return (bits >> 1) ^ -(bits & 1), at + 8
    bits = shift = 0
    while True:
        byte = data[at]
        at += 1
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 the last byte
            break
        shift += 7
        if shift > 63:  # noqa: PLR2004 a long has 64 bits
            raise MalformedError("a number has more than 64 bits")
    if bits >> 64:
        raise MalformedError("a number has more than 64 bits")
    return (bits >> 1) ^ -(bits & 1), at


_NAMESPACE: dict[str, Any] = {
    "LENGTHS": [_long(n) for n in range(_FAST_LENGTHS)],
    "SOME": [b"\x02" + _long(n) for n in range(_FAST_LENGTHS)],
    "FAST": _FAST_LENGTHS,
    "long": _long,
    "read_long": _read_long,
    "pack_double": _DOUBLE.pack,
    "unpack_double": _DOUBLE.unpack_from,
    "MalformedError": MalformedError,
}


class _Source:
    """Lines of a function, indented."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 1
        self._names = 0

    def add(self, *lines: str) -> None:
        self.lines += ["    " * self.depth + line for line in lines]

    def name(self, stem: str) -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def compiled(self, head: str) -> Any:
        namespace = dict(_NAMESPACE)
        exec("\n".join([head, *self.lines]), namespace)  # noqa: S102 the source is made of our own schemas alone
        return namespace["compiled"]


def writer(schema: Any, prefix: bytes = b"") -> Writer:
    """Return a function that writes a record of `schema` (without logical types) after `prefix`.

    Absent fields take their default. Values of a wrong type raise the error that they cause.
    """
    source = _Source()
    source.add(f"parts = [{prefix!r}]", "add = parts.append")
    _write_record(source, schema, "fields")
    source.add("return b''.join(parts)")
    compiled: Writer = source.compiled("def compiled(fields):")
    return compiled


def _write_record(source: _Source, schema: Any, fields: str) -> None:
    get = source.name("get")
    source.add(f"{get} = {fields}.get")
    for field in schema["fields"]:
        value = source.name("value")
        if "default" in field:
            default = field["default"]
            source.add(f"{value} = {get}({field['name']!r}{'' if default is None else f', {default!r}'})")
        else:
            source.add(f"{value} = {fields}[{field['name']!r}]")
        _write(source, field["type"], value)


def _write(source: _Source, schema: Any, value: str) -> None:
    if isinstance(schema, list):
        source.add(f"if {value} is None:", "    add(b'\\0')", "else:")
        source.depth += 1
        other = _other(schema)
        if _kind(other) in {"string", "bytes"}:
            _write_bytes(source, _kind(other), value, "SOME", "b'\\2' + ")
        else:
            source.add("add(b'\\2')")
            _write(source, other, value)
        source.depth -= 1
        return
    kind = _kind(schema)
    if kind in {"string", "bytes"}:
        _write_bytes(source, kind, value, "LENGTHS", "")
    elif kind in {"long", "int"}:
        source.add(f"add(LENGTHS[{value}] if 0 <= {value} < FAST else long({value}))")
    elif kind == "double":
        source.add(f"add(pack_double({value}))")
    elif kind == "boolean":
        source.add(f"add(b'\\1' if {value} else b'\\0')")
    elif kind == "record":
        _write_record(source, schema, value)
    elif kind in {"array", "map"}:
        item = source.name("item")
        source.add(f"if {value}:")
        source.depth += 1
        source.add(f"size = len({value})", "add(LENGTHS[size] if size < FAST else long(size))")
        if kind == "map":
            key = source.name("key")
            source.add(f"for {key}, {item} in {value}.items():")
            source.depth += 1
            _write_bytes(source, "string", key, "LENGTHS", "")
            _write(source, schema["values"], item)
        else:
            source.add(f"for {item} in {value}:")
            source.depth += 1
            _write(source, schema["items"], item)
        source.depth -= 2
        source.add("add(b'\\0')")
    else:
        raise NotImplementedError(kind)


def _write_bytes(source: _Source, kind: str, value: str, table: str, head: str) -> None:
    source.add(
        f"data = {value}.encode()" if kind == "string" else f"data = {value}",
        "size = len(data)",
        f"add({table}[size] if size < FAST else {head}long(size))",
        "add(data)",
    )


def reader(schema: Any) -> Reader:
    """Return a function `(data, at) -> (record, index after it)` for values that `schema` itself wrote.

    For anything else it raises MalformedError, IndexError, UnicodeDecodeError or struct.error.
    """
    source = _Source()
    source.add("end = len(data)")
    record = _read_record(source, schema)
    source.add(f"return {record}, at")
    compiled: Reader = source.compiled("def compiled(data, at):")
    return compiled


def _read_record(source: _Source, schema: Any) -> str:
    names = [(field["name"], _read(source, field["type"])) for field in schema["fields"]]
    record = source.name("record")
    source.add(f"{record} = {{{', '.join(f'{name!r}: {value}' for name, value in names)}}}")
    return record


def _read(source: _Source, schema: Any) -> str:
    value = source.name("value")
    if isinstance(schema, list):
        source.add("branch = data[at]", "at += 1", "if branch == 0:", f"    {value} = None", "elif branch == 2:")
        source.depth += 1
        source.add(f"{value} = {_read(source, _other(schema))}")
        source.depth -= 1
        source.add("else:", "    raise MalformedError('no such branch of a union')")
        return value
    kind = _kind(schema)
    if kind in {"string", "bytes"}:
        _read_size(source)
        source.add("stop = at + size", "if stop > end:", "    raise MalformedError('a text is cut off')")
        source.add(f"{value} = data[at:stop]" + (".decode()" if kind == "string" else ""), "at = stop")
    elif kind in {"long", "int"}:
        source.add(f"{value}, at = read_long(data, at)")
    elif kind == "double":
        source.add(f"{value}, = unpack_double(data, at)", "at += 8")
    elif kind == "boolean":
        source.add(f"{value} = data[at] != 0", "at += 1")
    elif kind == "record":
        return _read_record(source, schema)
    elif kind in {"array", "map"}:
        _read_blocks(source, schema, kind, value)
    else:
        raise NotImplementedError(kind)
    return value


def _read_blocks(source: _Source, schema: Any, kind: str, value: str) -> None:
    count = source.name("count")
    source.add(f"{value} = {'{}' if kind == 'map' else '[]'}", "while True:")
    source.depth += 1
    source.add(f"{count} = data[at]", f"if {count} & 0x81:", f"    {count}, at = read_long(data, at)")
    source.add("else:", f"    {count} >>= 1", "    at += 1", f"if {count} == 0:", "    break")
    # A negative count is followed by the block's size in bytes.
    source.add(f"if {count} < 0:", f"    {count} = -{count}", "    _, at = read_long(data, at)")
    source.add(f"if {count} > end - at:", "    raise MalformedError('a block is cut off')", f"for _ in range({count}):")
    source.depth += 1
    if kind == "map":
        key = _read(source, "string")
        source.add(f"{value}[{key}] = {_read(source, schema['values'])}")
    else:
        source.add(f"{value}.append({_read(source, schema['items'])})")
    source.depth -= 2


def _read_size(source: _Source) -> None:
    source.add(
        "size = data[at]",
        "at += 1",
        "if size & 0x80:",
        "    size, at = read_long(data, at - 1)",
        "elif size & 1:",
        "    size = -1",
        "else:",
        "    size >>= 1",
        "if size < 0:",
        "    raise MalformedError('a length is negative')",
    )


def _kind(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _other(schema: list[Any]) -> Any:
    """Return the type beside null; of `schema`, whose first branch null must be."""
    null, other = schema
    if null != "null":
        raise NotImplementedError("a union whose first branch is not null")
    return other
