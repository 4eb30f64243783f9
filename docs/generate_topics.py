"""Writes the contract's pages (a page per topic, AsyncAPI as JSON and HTML); with --check, says which are stale."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import asyncapi_html
from schema_tables import field_rows, filled, kept

from avro import asyncapi, examples
from avro.catalogue import TOPICS, Topic, topic_name
from avro.promises import COMPRESSED, EVOLUTION, PARTITIONING, PROMISES
from avro.schemas import latest, versions
from openbsp.kafka.connection import TopicSettings

DIRECTORY = Path(__file__).parent
SETTINGS = TopicSettings.model_construct(**{name: field.default for name, field in TopicSettings.model_fields.items()})
PUBLIC = [topic for topic in TOPICS.values() if not topic.internal]
MADE = "This page is made by `make docs` from catalogue, schemas and examples."


def pages() -> dict[str, str]:
    """Return the text of each page by its path in docs/."""
    document = asyncapi.document(version("openbsp-stream-bridge"), SETTINGS)
    return {
        "asyncapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        "asyncapi.html": asyncapi_html.page(document),
        "topics/index.md": _index(),
        **{f"topics/{topic.name}.md": _page(topic) for topic in PUBLIC},
    }


INDEX = """\
# Topics

{made} The same as [AsyncAPI](../asyncapi.json), and [readable](../asyncapi.html). `openbsp.` is the setting
TOPIC_PREFIX.

| topic | key | value | kept |
|---|---|---|---|
{rows}

## What holds for all of them

- **Values** are Avro in Confluent's wire format: a zero byte, the schema id in four bytes, the Avro binary. Any
  Confluent deserializer reads them. **Keys** are plain UTF-8 text.
- **Headers** are CloudEvents 1.0, Kafka binding, binary mode.
- **Partitioning**: {partitioning}
- **Compression**: {compressed}
- **Evolution**: {evolution}
- **Instants** are `timestamp-micros`, exact to the microsecond. What names no instant, or says more, travels as JSON
  text in `extra` or `status_extra`: [which texts are instants](../instants.md).
- **Absent, null, unknown**: a column that was null is listed in `nulls`; one that was absent is not; one without a
  field of its own is in `extra` as JSON text. So the received row can be rebuilt from the record alone.

Topics under the same prefix whose name begins with `streams-` are the streams worker's own: not part of the contract.

[Consumers that run](../../examples/README.md): Python, Java, kcat, a table in SQL.
"""

PAGE = """\
# {name}

{purpose}. {made}

- **Key**: {topic.key}, as UTF-8 text.
- **Value**: `openbsp.{topic.schema}`, version {version} ([schema](../../avro/schemas/{topic.schema}.v{version}.avsc)),
  subject `{name}-value`.
- **Partitioning**: {partitioning} {partitions} unless TOPIC_PARTITIONS says otherwise.
- **Retention**: {kept} ({policy}). Records are at most {max_bytes} bytes.
- **Ordering**: {promise.ordering}
- **Delivery**: {promise.delivery}
- **Deduplication**: {promise.deduplication}
- **Removal**: {promise.removal}
- **Evolution**: {evolution}

## Headers

| header | value |
|---|---|
| `ce_specversion` | `1.0` |
| `ce_id` | what to deduplicate by, see above |
| `ce_source` | {promise.source} |
| `ce_type` | {event_types} |
| `ce_subject` | {promise.subject} |
| `ce_time` | {promise.time} |
| `content-type` | `application/avro` |
| `traceparent` | W3C trace context, where there is one |{headers}

## Fields

| field | type | meaning |
|---|---|---|
{fields}

## Examples

As a deserializer returns them; instants are shown as text.
{examples}"""

EXAMPLE = """
{title}:

```json
{value}
```
"""


def _index() -> str:
    rows = [
        f"| [{_name(topic)}]({topic.name}.md) | {topic.key} | `{topic.schema}`: {topic.purpose} | {kept(topic)} |"
        for topic in PUBLIC
    ]
    return INDEX.format(
        made=MADE, rows="\n".join(rows), partitioning=PARTITIONING, compressed=COMPRESSED, evolution=EVOLUTION
    )


def _page(topic: Topic) -> str:
    newest = latest(str(topic.schema))
    schema = json.loads(newest.text)
    since = _since(newest.record)
    config = {name: value for name, value in topic.config().items() if name in {"cleanup.policy", "retention.ms"}}
    return PAGE.format(
        topic=topic,
        name=_name(topic),
        promise=PROMISES[topic.name],
        purpose=_sentence(topic.purpose),
        made=MADE,
        version=newest.version,
        partitioning=PARTITIONING,
        partitions=SETTINGS.partitions,
        kept=kept(topic),
        policy=", ".join(f"`{name}={value}`" for name, value in config.items()),
        max_bytes=topic.config()["max.message.bytes"],
        evolution=EVOLUTION,
        event_types=" or ".join(f"`{name}`" for name in PROMISES[topic.name].event_types),
        headers="".join(f"\n| `{name}` | {meaning} |" for name, meaning in PROMISES[topic.name].headers.items()),
        fields="\n".join(
            f"| `{name}` | {kind} | {_cell(doc)}{since[name]} |"
            for name, kind, doc in field_rows(schema, PROMISES[topic.name].remarks)
        ),
        examples="".join(
            EXAMPLE.format(title=_sentence(example.title), value=filled(schema, example.value))
            for example in examples.load(newest).accepted
        ),
    )


def _since(record: str) -> dict[str, str]:
    """Return for each field which version of the schema had it first; nothing for those that were there at first."""
    found: dict[str, str] = {}
    for schema in reversed(versions(record)):
        text = f" Since version {schema.version}." if schema.version > 1 else ""
        found |= {name: text for name, *_ in field_rows(json.loads(schema.text), {})}
    return found


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _name(topic: Topic) -> str:
    return topic_name(SETTINGS.prefix, topic.name)


def main() -> int:
    """Write the pages, or compare them with the files; return the exit code."""
    wanted = pages()
    present = {
        str(path.relative_to(DIRECTORY)): path.read_text("utf-8")
        for path in (*DIRECTORY.glob("topics/*"), *DIRECTORY.glob("asyncapi.*"))
    }
    stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if "--check" in sys.argv[1:]:
        if stale:
            print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        if name in wanted:
            (DIRECTORY / name).write_text(wanted[name], "utf-8")
        else:
            (DIRECTORY / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
