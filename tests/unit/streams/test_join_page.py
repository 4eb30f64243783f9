"""docs/join.md and the picture in streams/app.py show what the program declares, name for name."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import streams.app
from avro.catalogue import TOPICS
from streams.engine.app import App
from support.join import program

PAGE = (Path(__file__).parents[3] / "docs" / "join.md").read_text("utf-8")
PICTURES = {"the page": PAGE.partition("declares it")[2].partition("\n| agent")[0], "the module": streams.app.__doc__}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven")


class Declared(NamedTuple):
    #: What each agent reads.
    agents: dict[str, set[str]]
    #: Without those that every program on the engine has.
    timers: set[str]
    #: The changelog of each table.
    tables: dict[str, str]


@pytest.fixture(scope="module")
def declared() -> Declared:
    app = program(prefix="", idle_after_s=3600)
    return Declared(
        {name: set(agent.channel.topics) for name, agent in app.agents.items()},
        timers_of(app) - timers_of(App(app.engine_settings)),
        {name: table.owned.spec.changelog for name, table in app.tables.items()},
    )


def timers_of(app: App) -> set[str]:
    return {timer.__name__ for _, timer in app.engine_timers}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_each_picture_has_the_names_that_are_declared(declared: Declared, picture: str):
    assert set(re.findall(r"merge_\w+", picture)) == set(declared.agents)
    assert set(re.findall(r"(\w+) +\(timer", picture)) == declared.timers
    assert set(re.findall(r"(\w+) \(table\)", picture)) == set(declared.tables)
    assert set(re.findall(r"[a-z]+(?:-[a-z]+)+", picture)) <= set(TOPICS)
    assert set().union(*declared.agents.values()) <= set(re.findall(r"[\w-]+", picture))


def test_the_page_shows_the_changelog_of_each_table(declared: Declared):
    shown = re.findall(r"(\w+) +\(table\) -+> ([\w-]+)", PICTURES["the page"])
    assert dict(shown) == declared.tables


def test_the_page_says_what_each_agent_reads(declared: Declared):
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if re.match(r"\| (merge_|evict_)", line)]
    told = {name.strip(): {part.strip() for part in reads.split(",")} for name, reads, _ in rows}
    assert {name: reads for name, reads in told.items() if name not in declared.timers} == declared.agents
    assert declared.timers <= set(told)


def test_the_page_counts_them(declared: Declared):
    agents, read = len(declared.agents), len(set().union(*declared.agents.values()))
    counted = f"{NUMBERS[agents]} agents read {NUMBERS[read]} topics and write {NUMBERS[len(declared.tables)]} tables"
    assert counted.capitalize() in PAGE
