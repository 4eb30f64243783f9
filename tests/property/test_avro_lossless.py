"""G3: from the Avro event alone the received row can be rebuilt, whatever it holds."""

import json
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avro import codec, instants, rows
from avro.catalogue import TOPICS
from avro.columns import ENTITIES, Entity, Kind
from avro.identity import event_id
from avro.jsontext import decode, encode
from avro.schemas import latest
from support import moments

# -- what OpenBSP could send

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

BIG_DIGITS = st.integers(1, 9).flatmap(
    lambda digit: st.sampled_from([19, 20, 100, 299, 300, 301, 4299, 4300, 4301, 9000]).map(
        lambda count: str(digit) * count
    )
)
NUMBERS = st.one_of(
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.builds(lambda sign, digits: decode(f"{sign}{digits}".encode()), st.sampled_from(["", "-"]), BIG_DIGITS),
    st.builds(
        lambda whole, fraction, exponent: decode(f"{whole}.{fraction}e{exponent}".encode()),
        st.integers(-(10**30), 10**30),
        st.from_regex(r"[0-9]{1,20}", fullmatch=True),
        st.integers(-(10**17), 10**17),
    ),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=6,
)


OFFSETS = ["", "Z", "z", " +0000", "-00:00", "+05:30:15", "+00:00", "+00", "-0330", "+05:30", "+14:00", "-12:00"]
OFFSETS += ["+23:59", "+24:00", "+00:19:32"]


@st.composite
def timestamps(draw: st.DrawFn) -> str:
    """Draw a text as Postgres writes timestamps, and as it never would but others do."""
    year = draw(st.sampled_from(["0001", "1969", "1970", "2026", "9999"]))
    day = draw(st.sampled_from(["01-01", "12-31", "02-29", "06-15"]))
    time = draw(st.sampled_from(["00:00:00", "23:59:59", "12:30:00", "24:00:00", "23:59:60"]))
    fraction = draw(st.one_of(st.just(""), st.from_regex(r"[.,][0-9]{1,9}", fullmatch=True)))
    offset = draw(st.sampled_from(OFFSETS))
    return f"{year}-{day}{draw(st.sampled_from('Tt '))}{time}{fraction}{offset}"


TIMES = st.one_of(timestamps(), st.sampled_from(["infinity", "-infinity", "now", "", "2026-05-06"]))
ANYTHING = st.one_of(TEXT, TIMES, JSON)
STATUS = st.dictionaries(
    st.one_of(st.sampled_from(["pending", "sent", "read", "errors", "status", "typing"]), TEXT),
    st.one_of(TIMES, ANYTHING, st.lists(JSON, max_size=3)),
    max_size=5,
)

#: Columns that have, or could be taken for, a field of the event.
NAMES = sorted(
    {column for entity in ENTITIES.values() for column in entity.columns}
    | {
        field["name"]
        for topic in TOPICS.values()
        if topic.schema
        for field in json.loads(latest(topic.schema).text)["fields"]
    }
    | {"from", "wa_id", "", "\0", "constructor"}
)


def values_of(kind: Kind | None) -> st.SearchStrategy[Any]:
    fitting = {Kind.TEXT: TEXT, Kind.INSTANT: TIMES, Kind.STATUS: STATUS}.get(kind, JSON) if kind else JSON
    return st.one_of(fitting, fitting, ANYTHING, st.none())


@st.composite
def received(draw: st.DrawFn) -> tuple[Entity, rows.Row]:
    """Draw an entity and a row of it."""
    entity = draw(st.sampled_from(list(ENTITIES.values())))
    names = draw(st.lists(st.one_of(st.sampled_from(NAMES), TEXT), unique=True, max_size=8))
    row = {"id": draw(TEXT)}
    row |= {name: draw(values_of(entity.columns.get(name))) for name in names if name != "id"}
    row |= {name: draw(TEXT.filter(bool)) for name in entity.identity}
    return entity, row


# -- what "the same row" means, by other means than the code under test

FULL = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)(?P<f>[.,]\d+)?"
    r"(?:[Zz]| ?(?P<sign>[+-])(?P<oh>\d\d)(?::?(?P<om>\d\d)(?::?(?P<os>\d\d))?)?)",
    re.ASCII,
)
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def moment(text: Any) -> Fraction | None:
    """Return seconds since the year 1, exactly, or None for what is no instant; calendar arithmetic by hand."""
    match = FULL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day = (int(part) for part in match["date"].split("-"))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = year * 365 + (year - 1) // 4 - (year - 1) // 100 + (year - 1) // 400
    days += sum(MONTHS[: month - 1]) + (leap and month > 2) + day - 1
    offset = Fraction(int(match["oh"] or 0) * 3600 + int(match["om"] or 0) * 60 + int(match["os"] or 0))
    clock = int(match["h"]) * 3600 + int(match["m"]) * 60 + int(match["s"]) + Fraction("0." + (match["f"] or ".0")[1:])
    return days * 86400 + clock - (-offset if match["sign"] == "-" else offset)


def same_time(one: Any, other: Any) -> bool:
    if same(one, other):
        return True
    instant = moment(one)
    return instant is not None and instant == moment(other)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same in every digit; true is not 1, and 1.0 is not 1.00."""
    return encode(one) == encode(other)


def same_row(entity: Entity, sent: rows.Row, rebuilt: rows.Row) -> bool:
    if sent.keys() != rebuilt.keys():
        return False
    for column, value in sent.items():
        kind = entity.columns.get(column)
        if kind is Kind.INSTANT:
            if not same_time(value, rebuilt[column]):
                return False
        elif kind is Kind.STATUS and isinstance(value, dict) and isinstance(rebuilt[column], dict):
            if value.keys() != rebuilt[column].keys():
                return False
            if not all(same_time(moment_, rebuilt[column][key]) for key, moment_ in value.items()):
                return False
        elif not same(value, rebuilt[column]):
            return False
    return True


def through_avro(entity: Entity, row: rows.Row) -> dict[str, Any]:
    """Write the event of a row, and read it back as a consumer within the project does."""
    record = TOPICS[entity.topic].schema
    assert record is not None
    fields = {"event_id": "e", "action": "insert", "received_at": 0, **rows.to_fields(entity, row)}
    value = codec.encoder(record, 7)(fields)
    decoder = codec.Decoder(record)
    decoder.learn(7, latest(record).text)
    return decoder.decode(value)


@given(received())
@example(
    (ENTITIES["messages"], {"id": "m", "extra": 1, "nulls": ["id"], "errors": [None], "event_id": 2, "action": None})
)
@example((ENTITIES["messages"], {"id": "m", "status_extra": {}, "received_at": "2026-05-06T00:00:00Z", "status": {}}))
@example((ENTITIES["messages"], {"id": "m", "status": {"sent": None, "errors": [], "": 1}, "errors": None}))
@example((ENTITIES["messages"], {"id": "m", "status": {"errors": {"sent": "2026-05-06T00:00:00Z"}}}))
@example((ENTITIES["messages"], {"id": "m", "status": {"errors": "2026-05-06T00:00:00Z"}}))
@example((ENTITIES["messages"], {"id": "m", "status": [], "content": None, "timestamp": 5, "direction": {}}))
@example((ENTITIES["messages"], {"id": "m", "created_at": "0001-01-01T00:00:00+00:01"}))
@example((ENTITIES["messages"], {"id": "m", "updated_at": "9999-12-31T23:59:59.999999-00:01"}))
@example((ENTITIES["messages"], {"id": "m", "content": {"n": Decimal("1" * 4301), "e": Decimal("1E+400")}}))
@example((ENTITIES["conversations"], {"id": "c", "extra": {"a": [None]}, "status": {}, "name": ""}))
@example((ENTITIES["conversations"], {"id": "c", "extra": None}))
def test_the_row_can_be_rebuilt_from_the_event_alone(case: tuple[Entity, rows.Row]) -> None:
    entity, row = case
    rebuilt = rows.to_row(entity, through_avro(entity, row))
    assert same_row(entity, row, rebuilt), rebuilt


@given(received())
def test_a_rebuilt_row_is_a_fixed_point(case: tuple[Entity, rows.Row]) -> None:
    """Once rendered in UTC, nothing changes any more: the state of a state is the state."""
    entity, row = case
    fields = rows.to_fields(entity, row)
    assert rows.to_fields(entity, rows.to_row(entity, fields)) == fields


@given(received())
def test_absent_columns_and_explicit_nulls_stay_apart(case: tuple[Entity, rows.Row]) -> None:
    entity, row = case
    fields = through_avro(entity, row)
    assert set(fields["nulls"]) == {column for column, value in row.items() if value is None}
    rebuilt = rows.to_row(entity, fields)
    for column in entity.columns:
        assert (column in rebuilt) == (column in row)


@given(TIMES)
def test_an_instant_is_read_exactly_or_cut_off_at_the_microsecond(text: str) -> None:
    micros, exact = instants.read(text)
    assert instants.parse(text) == micros
    if micros is None:
        assert not exact
        return
    told, since = moment(text), moment("1970-01-01T00:00:00Z")
    assert told is not None
    assert since is not None
    assert moment(instants.render(micros)) == since + Fraction(micros, 1_000_000)
    beyond = told - since - Fraction(micros, 1_000_000)
    assert 0 <= beyond < Fraction(1, 1_000_000)
    assert exact == (beyond == 0 and ":60" not in text)


@given(TIMES)
def test_the_judge_of_the_join_reads_the_same_instants(text: str) -> None:
    micros, exact = instants.read(text)
    assert moments.read(text) == (micros, micros is not None and not exact)


@given(st.integers(instants.FIRST, instants.LAST))
def test_every_instant_of_the_range_survives(micros: int) -> None:
    assert instants.parse(instants.render(micros)) == micros


def shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


@given(received(), st.randoms(use_true_random=False), st.sampled_from([None, 1, "\t"]))
def test_the_event_id_does_not_depend_on_order_of_keys_or_white_space(
    case: tuple[Entity, rows.Row], random: Any, indent: int | str | None
) -> None:
    entity, row = case
    plain = decode(encode(row))
    numbers: list[str] = []

    def hidden(value: Any) -> Any:
        # json.dumps knows no Decimal: numbers are put back into the text afterwards, digit for digit.
        if isinstance(value, dict):
            return {key: hidden(item) for key, item in value.items()}
        if isinstance(value, list):
            return [hidden(item) for item in value]
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            numbers.append(encode(value).decode())
            return f"\ue000{len(numbers) - 1}\ue001"
        return value

    text = json.dumps(hidden(shuffled(plain, random)), indent=indent, ensure_ascii=False)
    text = re.sub('"\ue000(\\d+)\ue001"', lambda match: numbers[int(match[1])], text)
    assert event_id(entity.name, "insert", encode(decode(text.encode()))) == event_id(
        entity.name, "insert", encode(plain)
    )


@pytest.mark.parametrize("name", sorted(ENTITIES))
def test_every_typed_column_has_its_field(name: str) -> None:
    """Catalogue and schema agree, so that no column can vanish between them."""
    entity = ENTITIES[name]
    record = TOPICS[entity.topic].schema
    assert record is not None
    schema = json.loads(latest(record).text)
    types = {field["name"]: field["type"] for field in schema["fields"]}
    instant = {"type": "long", "logicalType": "timestamp-micros"}
    wanted = {
        Kind.TEXT: "string",
        Kind.JSON: "string",
        Kind.INSTANT: instant,
        Kind.STATUS: {"type": "map", "values": instant},
    }
    for column, kind in entity.columns.items():
        assert types[column] == ("string" if column == "id" else ["null", wanted[kind]]), column
