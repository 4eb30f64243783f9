"""The alert rules in deploy/: they ask for metrics that exist, and the runbook says what to do about each of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import metrics as of_bridge
from bridge.reconcile import metrics as of_reconcile
from streams import metrics as of_streams

ROOT = Path(__file__).parents[3]
RULES = [
    rule
    for file in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
#: What a metric of ours is called in an expression, however it is shown.
METRIC = re.compile(r"\b(?:bridge|streams)_[a-z0-9_]+")
#: Labels that Prometheus gives to what it asks.
OF_TARGETS = {"namespace", "pod"}


def known() -> set[str]:
    """Return the series that the processes have."""
    names = {description.name for module in (of_bridge, of_reconcile, of_streams) for description in module.describe()}
    return names | {f"{name}_{part}" for name in names for part in ("total", "bucket", "sum", "count")}


def test_prometheus_reads_them():
    settings = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert settings["rule_files"] == ["rules/*.yml"]
    assert RULES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_exist_and_has_a_row_in_the_runbook(rule: dict[str, Any]):
    asked = set(METRIC.findall(rule["expr"]))
    assert asked
    assert asked <= known()
    assert f"`{rule['alert']}`" in (ROOT / "docs" / "runbook.md").read_text("utf-8")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_leads_to_the_section_of_the_runbook_that_has_its_row(rule: dict[str, Any]):
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    sections = re.split(r"^## ", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    (section,) = [each for each in sections if each.partition("\n")[0].lower().replace(" ", "-") == anchor]
    assert f"`{rule['alert']}`" in section


def test_no_alert_has_the_name_of_another():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_labels_in_an_expression_are_those_of_their_metric(rule: dict[str, Any]):
    """A selector of a label that does not exist matches nothing, and the alert never fires."""
    labels = {d.name: set(d.labels) for module in (of_bridge, of_reconcile, of_streams) for d in module.describe()}
    for name, selector in re.findall(r"((?:bridge|streams)_[a-z0-9_]+)\{([^}]*)\}", rule["expr"]):
        of = labels[name.removesuffix("_total") if name not in labels else name]
        assert set(re.findall(r"(\w+)!?=", selector)) <= of | OF_TARGETS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_over_what_is_counted_asks_for_what_a_series_begins_with(rule: dict[str, Any]):
    """`increase` sees none of it: decision 0162."""
    counted = re.findall(r"\bincrease\(([^\[\]]+)\[(\w+)\]\)", rule["expr"])
    assert [
        of for of, time in counted if f"unless last_over_time({of}[{time}] offset {time})" not in rule["expr"]
    ] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_one_prometheus_may_have_several_environments(rule: dict[str, Any]):
    """What adds up, or takes the largest, keeps them apart: else one hides another."""
    assert re.findall(r"\b(?:sum|max|min|count|avg)\b(?! by \(namespace, job[,)])", rule["expr"]) == []
