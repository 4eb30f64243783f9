"""Published schemas are frozen, have examples, and fit each other: these tests fail the build when they do not."""

import json
import shutil
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from avro import compatibility, examples, readable, released, schemas
from avro.catalogue import TOPICS
from avro.columns import ENTITIES
from avro.errors import SchemasError
from avro.identity import event_id
from avro.jsontext import decode, encode
from avro.rows import to_fields, to_row
from avro.schemas import Schema, latest, records, versions

ROOT = Path(__file__).resolve().parents[3]
ALL = [schema for record in records() for schema in versions(record)]
PAYLOADS = sorted((ROOT / "examples" / "payloads").glob("*.json"))


def name_of(case: Any) -> str:
    return f"{case.record}.v{case.version}" if isinstance(case, Schema) else str(getattr(case, "title", case))


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(schema, example, id=f"{name_of(schema)}: {example.title}")
        for schema in ALL
        for example in getattr(examples.load(schema), kind)
    ]


# -- this installation


def test_the_published_schemas_keep_the_contract() -> None:
    compatibility.check()


@pytest.mark.parametrize("schema", ALL, ids=name_of)
def test_each_version_shows_what_is_accepted_and_what_is_rejected(schema: Schema) -> None:
    shown = examples.load(schema)
    assert len(shown.accepted) >= 2
    assert len(shown.rejected) >= 2
    titles = [example.title for example in (*shown.accepted, *shown.rejected)]
    assert len(set(titles)) == len(titles)
    assert all(example.why for example in shown.rejected)


@pytest.mark.parametrize(("schema", "example"), cases("accepted"))
def test_an_accepted_example_is_written_and_read_back(schema: Schema, example: examples.Example) -> None:
    assert examples.fits(schema, example.value)
    fields = examples.to_fields(schema, example.value)
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, schema.parsed_raw(), fields)
    buffer.seek(0)
    read: Any = fastavro.schemaless_reader(buffer, schema.parsed_raw(), None)
    assert {name: read[name] for name in fields} == fields


@pytest.mark.parametrize(("schema", "example"), cases("rejected"))
def test_a_rejected_example_is_no_value_of_the_schema(schema: Schema, example: examples.Example) -> None:
    assert not examples.fits(schema, example.value)


@pytest.mark.parametrize("record", records())
def test_the_examples_of_the_newest_version_show_every_field_filled(record: str) -> None:
    shown = [example.value for example in examples.load(latest(record)).accepted]
    for field in json.loads(latest(record).text)["fields"]:
        seldom = {"thread_id", "group_address"} if record.startswith("Message") else {"group_address"}
        assert field["name"] in seldom or any(value.get(field["name"]) is not None for value in shown), field["name"]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_the_documented_payloads_are_among_the_examples(path: Path) -> None:
    """So that the pages show what a consumer really gets for what the sender really sends."""
    payload = decode(path.read_bytes())
    entity = ENTITIES[payload["entity"]]
    record = TOPICS[entity.topic].schema
    assert record is not None
    expected = {
        "event_id": event_id(payload["entity"], payload["action"], encode(payload["data"])),
        "action": payload["action"],
        **to_fields(entity, payload["data"]),
    }
    shown = [examples.to_fields(latest(record), example.value) for example in examples.load(latest(record)).accepted]
    assert expected in [{name: value for name, value in fields.items() if name != "received_at"} for fields in shown]
    assert to_row(entity, expected) == payload["data"]


# -- a release that changes


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the schema directory, to be spoilt."""
    for resource in files("avro.schemas").iterdir():
        if resource.name.endswith((".avsc", ".lock")):
            (tmp_path / resource.name).write_bytes(resource.read_bytes())
    return tmp_path


def test_an_untouched_release_has_no_faults(checkout: Path) -> None:
    assert released.faults(checkout) == []


def test_a_released_file_that_changes_fails_the_build_even_if_only_by_a_blank(checkout: Path) -> None:
    path = checkout / "MessageEvent.v1.avsc"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    assert released.faults(checkout) == [
        "MessageEvent.v1.avsc: differs from what was released; a released version never changes, add the next one"
    ]


def test_a_released_file_that_goes_fails_the_build(checkout: Path) -> None:
    (checkout / "DeadLetter.v1.avsc").unlink()
    assert released.faults(checkout) == ["DeadLetter.v1.avsc: released, but gone"]


def test_a_new_file_fails_the_build_until_its_sum_is_added(checkout: Path) -> None:
    newest = latest("StatusChange").version
    new = checkout / f"StatusChange.v{newest + 1}.avsc"
    shutil.copy(checkout / f"StatusChange.v{newest}.avsc", new)
    assert len(released.faults(checkout)) == 1
    lock = checkout / released.LOCK
    last = next(line for line in lock.read_text("utf-8").splitlines() if f"StatusChange.v{newest}" in line)
    lock.write_text(lock.read_text("utf-8") + last.replace(f"v{newest}", f"v{newest + 1}") + "\n", "utf-8")
    assert released.faults(checkout) == []


def test_a_line_of_the_sums_that_is_none_is_named(checkout: Path) -> None:
    lock = checkout / released.LOCK
    lock.write_text(lock.read_text("utf-8") + "StatusChange.v9.avsc\n", "utf-8")
    (fault,) = released.faults(checkout)
    assert fault.endswith("is not a sum and a file, as sha256sum writes them")


# -- files that cannot be read


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Return a copy of the directory of examples, to be spoilt."""
    directory = tmp_path / "shown"
    directory.mkdir()
    for resource in files("avro.examples").iterdir():
        if resource.name.endswith(".json"):
            (directory / resource.name).write_bytes(resource.read_bytes())
    return directory


def test_what_is_installed_can_be_read(checkout: Path, shown: Path) -> None:
    assert readable.faults(checkout, shown) == []


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("{", "New.v1.avsc: no JSON: Expecting"),
        ("[]", "New.v1.avsc: must be a record with the name New"),
        ('{"type": "record", "name": "Other", "fields": []}', "New.v1.avsc: must be a record with the name New"),
        ('{"type": "record", "name": "New", "fields": [{"type": "string"}]}', "New.v1.avsc: no Avro schema: "),
        (
            '{"type": "record", "name": "New", "fields": [{"name": "a", "type": "strin"}]}',
            "New.v1.avsc: there is no type ",
        ),
        ('{"type": "record", "name": "New", "fields": []}', "New.v1.json: each version of a schema needs examples"),
    ],
)
def test_a_schema_that_is_none_is_a_sentence(checkout: Path, shown: Path, schema: str, sentence: str) -> None:
    (checkout / "New.v1.avsc").write_text(schema, "utf-8")
    (fault,) = readable.faults(checkout, shown)
    assert fault.startswith(sentence)


@pytest.mark.parametrize(
    ("examples_of_it", "sentence"),
    [
        ("{", "no JSON: Expecting"),
        ("{}", "needs `accepted` and `rejected`"),
        ('{"accepted": [{"titel": "a"}], "rejected": []}', "needs `accepted` and `rejected`"),
        ('{"accepted": [{"title": "a", "value": {"id": 1}}], "rejected": []}', "the example 'a' is not a value"),
    ],
)
def test_examples_that_are_none_are_a_sentence(checkout: Path, shown: Path, examples_of_it: str, sentence: str) -> None:
    (shown / "StatusChange.v2.json").write_text(examples_of_it, "utf-8")
    (fault,) = readable.faults(checkout, shown)
    assert fault.startswith(f"StatusChange.v2.json: {sentence}")


def test_a_file_with_another_name_is_a_sentence(checkout: Path, shown: Path) -> None:
    (checkout / "New-1.avsc").write_text("{}", "utf-8")
    assert readable.faults(checkout, shown) == ["New-1.avsc: is not called <Record>.v<N>.avsc"]


def test_nothing_else_is_said_while_a_file_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readable, "faults", lambda: ["New.v1.avsc: no JSON"])
    with pytest.raises(SchemasError) as refused:
        compatibility.check()
    assert refused.value.faults == ["New.v1.avsc: no JSON"]


# -- a next version, good or bad

WITHOUT_DEFAULT = {"name": "channel", "type": "string"}
OPTIONAL = {"name": "channel", "type": ["null", "string"], "default": None}


def field_of(schema: Any, name: str) -> Any:
    return next(field for field in schema["fields"] if field["name"] == name)


def without(schema: Any, name: str) -> None:
    schema["fields"] = [field for field in schema["fields"] if field["name"] != name]


def nested(schema: Any) -> Any:
    return field_of(schema, "conversation")["type"][1]


def next_version(edit: Any) -> Schema:
    read = json.loads(latest("StatusChange").text)
    edit(read)
    return Schema("StatusChange", latest("StatusChange").version + 1, json.dumps(read))


COMPATIBLE = {
    "a field with a default is added": lambda s: s["fields"].append(OPTIONAL),
    "a field with a default goes": lambda s: without(s, "previous"),
    "fields change places": lambda s: s["fields"].reverse(),
    "documentation changes": lambda s: field_of(s, "at").update(doc="When."),
    "a nested field with a default is added": lambda s: nested(s)["fields"].append(OPTIONAL),
}
BREAKING = {
    "a field without a default goes": (lambda s: without(s, "id"), "id: absent and without a default"),
    "a field without a default is added": (
        lambda s: s["fields"].append(WITHOUT_DEFAULT),
        "channel: absent and without a default",
    ),
    "a type changes": (lambda s: field_of(s, "status").update(type="long"), "status: string is not long"),
    "a number grows": (lambda s: field_of(s, "at").update(type="double"), "at: double is not long"),
    "a text becomes bytes": (lambda s: field_of(s, "status").update(type="bytes"), "status: string is not bytes"),
    "null is no longer a value": (
        lambda s: field_of(s, "direction").update(type="string", default=""),
        "direction: null is not string",
    ),
    "a union grows": (
        lambda s: field_of(s, "direction").update(type=["null", "string", "long"]),
        "direction: no branch for long",
    ),
    "a field is renamed, with an alias": (
        lambda s: field_of(s, "status").update(name="state", aliases=["status"]),
        "state: absent and without a default",
    ),
    "the record is renamed": (
        lambda s: s.update(name="Change"),
        "openbsp.StatusChange is not openbsp.Change",
    ),
    "a nested record is renamed": (
        lambda s: nested(s).update(name="Summary"),
        "conversation: openbsp.ConversationSummary is not openbsp.Summary",
    ),
    "a nested field goes": (
        lambda s: nested(s)["fields"].append(WITHOUT_DEFAULT),
        "conversation.channel: absent and without a default",
    ),
    "microseconds become milliseconds": (
        lambda s: field_of(s, "at").update(type={"type": "long", "logicalType": "timestamp-millis"}),
        "at: timestamp-micros is not timestamp-millis",
    ),
    "an instant becomes a number": (
        lambda s: field_of(s, "at").update(type="long"),
        "at: timestamp-micros is not plain long",
    ),
    "a default changes": (
        lambda s: field_of(s, "previous").update(type=["string", "null"], default="pending"),
        'previous: the default null is not "pending"',
    ),
}


@pytest.mark.parametrize("change", COMPATIBLE)
def test_a_compatible_next_version_passes(change: str) -> None:
    newer = next_version(COMPATIBLE[change])
    assert compatibility.differences(latest("StatusChange"), newer) == []


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_next_version_is_named_with_its_place_and_reason(change: str) -> None:
    edit, reason = BREAKING[change]
    faults = compatibility.differences(latest("StatusChange"), next_version(edit))
    assert [fault for fault in faults if fault.endswith(f": {reason}")], faults


def without_id(value: dict[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in value.items() if name != "id"}


def test_a_breaking_change_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very check of the build, on an installation with a next version that no reader of the last understands."""
    broken = next_version(BREAKING["a field without a default goes"][0])

    def with_broken(record: str) -> tuple[Schema, ...]:
        return (*schemas.versions(record), broken) if record == "StatusChange" else schemas.versions(record)

    load = examples.load
    values = [without_id(example.value) for example in load(latest("StatusChange")).accepted]
    accepted = tuple(examples.Example(str(number), value) for number, value in enumerate(values))
    monkeypatch.setattr(compatibility, "versions", with_broken)
    shown = examples.Examples(accepted, ())
    monkeypatch.setattr(examples, "load", lambda schema, *where: shown if schema is broken else load(schema, *where))
    with pytest.raises(SchemasError) as refused:
        compatibility.check()
    for older in schemas.versions("StatusChange"):
        fault = f"StatusChange.v{older.version} cannot read StatusChange.v{broken.version}: id: absent"
        assert f"{fault} and without a default" in refused.value.faults
    assert any("cannot read the example" in fault for fault in refused.value.faults)


def test_the_check_knows_all_of_avros_types() -> None:
    def fits(reader: Any, writer: Any) -> bool:
        return not compatibility._Resolution(fastavro.parse_schema(reader), fastavro.parse_schema(writer)).faults()

    enum = {"type": "enum", "name": "E", "symbols": ["a", "b"]}
    fixed = {"type": "fixed", "name": "F", "size": 4}
    tree = {"type": "record", "name": "T", "fields": [{"name": "left", "type": ["null", "T"]}]}
    taller = {
        "type": "record",
        "name": "T",
        "fields": [{"name": "left", "type": ["null", "T"]}, {"name": "x", "type": "int"}],
    }
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    for schema in (enum, fixed, tree, decimal, {"type": "string"}, ["null", "string"]):
        assert fits(schema, schema)
    assert fits("double", "int")
    assert not fits("int", "double")
    assert fits(["null", "double"], "long")
    assert fits({"type": "array", "items": "long"}, {"type": "array", "items": "int"})
    assert not fits({"type": "array", "items": "long"}, {"type": "array", "items": "string"})
    assert not fits({"type": "map", "values": "long"}, {"type": "map", "values": "string"})
    assert not fits({"type": "map", "values": "long"}, {"type": "array", "items": "long"})
    assert fits(enum, enum | {"symbols": ["a"]})
    assert not fits(enum, enum | {"symbols": ["a", "c"]})
    assert fits(enum | {"default": "a"}, enum | {"symbols": ["a", "c"]})
    assert not fits(fixed, fixed | {"size": 5})
    assert not fits(fixed, fixed | {"name": "G"})
    assert fits(tree, taller)
    assert not fits(taller, tree)
    assert not fits(decimal, decimal | {"scale": 3})
