"""A second program on the engine, in plain Faust idiom: how often each word has been said."""

import json
from collections.abc import Callable

from streams.engine.app import App
from streams.engine.outside import Outside
from streams.engine.settings import EngineSettings


def create_app(
    settings: EngineSettings, outside: Outside | None = None, heard: Callable[[str], None] = lambda _: None
) -> App:
    """Declare it: words (keys of a topic) in, their counts in a table; `heard` is told of each word before."""
    app = App(settings, outside)
    words = app.topic(f"{settings.topic_prefix}words", key_type=str, value_type=bytes, value_serializer="raw")
    counts = app.Table(
        "counts",
        source="words",
        changelog="counts",
        join=lambda _, a, b: max(a, b, key=lambda value: json.loads(value)[1]),
        key_type=str,
        default=lambda: [0, -1],
        help="Of each word: how often it was said, and up to which offset that is counted.",
    )

    @app.agent(words)
    async def count_words(stream):
        """Count each word once, however often its event comes."""
        async for event in stream.events():
            heard(event.key)
            count, until = counts[event.key]
            if event.message.offset > until:
                count, until = count + 1, event.message.offset
            # Trap: a store on disk may have what its changelog never got. So what is found is set again, never skipped.
            counts[event.key] = [count, until]

    return app
