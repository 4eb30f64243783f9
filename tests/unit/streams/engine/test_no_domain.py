"""The engine knows no domain: its texts name nothing of the program on it, and nothing that its operators type.

That it imports nothing of it is a contract in pyproject.toml.
"""

import re
from pathlib import Path

import pytest

import streams.engine

MODULES = sorted(Path(streams.engine.__file__).parent.rglob("*.py"))
WORDS = (
    r"openbsp(?!\.)",  # the product; `openbsp.` begins modules
    r"bridge",
    r"contacts?\b",
    r"contributions?",
    r"conversations?",
    r"(message|conversation)[-_]states?",
    r"organi[sz]ations?",
    r"state topics?",
    r"status[-_ ]changes?",
    r"streams repartition",
    r"streams_",  # variables of the environment
    r"the join\b",
    r"webhooks?",
    r"whatsapp",
)


@pytest.mark.parametrize("word", WORDS)
def test_the_engine_does_not_name(word: str) -> None:
    named = re.compile(rf"\b{word}", re.IGNORECASE)
    texts = {str(path): " ".join(path.read_text("utf-8").split()) for path in MODULES}
    assert len(texts) > 20
    assert {name: found.group() for name, text in texts.items() if (found := named.search(text))} == {}
