"""The AsyncAPI document as one HTML page without scripts or anything from elsewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

from schema_tables import field_rows, filled

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ border-top: 1px solid #8888; padding-top: 1.5rem; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; }}
code, pre {{ font: 14px/1.4 ui-monospace, monospace; }}
pre {{ overflow-x: auto; background: #8881; padding: .75rem; border-radius: .25rem; }}
</style>
<h1>{title}</h1>
{description}
<p>Made by <code>make docs</code> from <a href="asyncapi.json">the AsyncAPI document</a>.</p>
<ul>
{contents}
</ul>
{channels}
</html>
"""

CHANNEL = """\
<h2 id="{id}"><code>{address}</code></h2>
<p><strong>{title}.</strong></p>
{description}
<p>{partitions} partitions, {replicas} replicas; {policy}.</p>
"""

MESSAGE = """\
<h3>{name}</h3>
<p>{summary}</p>
<table>
<tr><th>header</th><th>value</th></tr>
{headers}
</table>
<table>
<tr><th>field</th><th>type</th><th>meaning</th></tr>
{fields}
</table>
{examples}"""


def page(document: Any) -> str:
    """Return the page of a document that `avro.asyncapi` made."""
    info = document["info"]
    return PAGE.format(
        title=escape(f"{info['title']} {info['version']}"),
        description=_paragraphs(info["description"]),
        contents="\n".join(
            f'<li><a href="#{name}"><code>{escape(channel["address"])}</code></a>: {escape(channel["title"])}</li>'
            for name, channel in document["channels"].items()
        ),
        channels="\n".join(
            part for name, channel in document["channels"].items() for part in _channel(document, name, channel)
        ),
    )


def _channel(document: Any, name: str, channel: Any) -> Iterator[str]:
    binding = channel["bindings"]["kafka"]
    yield CHANNEL.format(
        id=name,
        address=escape(channel["address"]),
        title=escape(channel["title"]),
        description=_paragraphs(channel["description"]),
        partitions=binding["partitions"],
        replicas=binding["replicas"],
        policy=", ".join(
            f"<code>{escape(key)}={escape(','.join(value) if isinstance(value, list) else str(value))}</code>"
            for key, value in binding["topicConfiguration"].items()
        ),
    )
    for message in channel["messages"]:
        yield _message(document["components"]["messages"][message])


def _message(message: Any) -> str:
    schema = message["payload"]["schema"]
    return MESSAGE.format(
        name=escape(message["name"]),
        summary=escape(message["summary"]),
        headers="\n".join(_row(name, _meaning(header)) for name, header in message["headers"]["properties"].items()),
        fields="\n".join(_row(*row) for row in field_rows(schema, message.get("x-remarks", {}))),
        examples="\n".join(
            f"<details><summary>Example: {escape(example['summary'])}</summary>"
            f"<pre>{escape(filled(schema, example['payload']))}</pre></details>"
            for example in message["examples"]
        ),
    )


def _row(name: str, *others: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td>{''.join(f'<td>{escape(other)}</td>' for other in others)}</tr>"


def _meaning(header: Any) -> str:
    if "const" in header:
        return str(header["const"])
    return " or ".join(header["enum"]) if "enum" in header else str(header["description"])


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in text.split("\n\n"))
