"""What is in deploy/, the compose file and the Dockerfile agrees with the code and keeps no secret."""

import json
import re
from pathlib import Path

import pytest

import bridge.metrics
import streams.metrics
from bridge.reconcile.settings import ReconcileSettings
from bridge.settings import BridgeSettings
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.local.lockfile import read_lock
from openbsp.settings import describe
from openbsp_testkit.images import KAFKA_IMAGE, REGISTRY_IMAGE, services_image
from streams.settings import StreamsSettings

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
PROMETHEUS = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "openbsp.json").read_text("utf-8"))

OWN = re.compile(r"\b(?:BRIDGE|RECONCILE|STREAMS|TOPIC|SCHEMA_REGISTRY)_[A-Z0-9_]+|\bKAFKA_BOOTSTRAP_SERVERS")


def test_the_compose_file_runs_what_the_tests_run(monkeypatch):
    monkeypatch.delenv("OPENBSP_TESTKIT_IMAGE", raising=False)
    images = re.findall(r"^ +image: (\S+)", COMPOSE, re.MULTILINE)
    assert {KAFKA_IMAGE, REGISTRY_IMAGE, f"${{BRIDGE_IMAGE:-{services_image()}}}"} <= set(images)
    assert all(":" in image.removeprefix("${BRIDGE_IMAGE:-") and not image.endswith(":latest") for image in images)


def test_the_test_kit_has_the_versions_of_the_local_stack():
    assert read_lock()["kafka"].version == KAFKA_IMAGE.partition(":")[2]
    assert read_lock()["registry"].version == REGISTRY_IMAGE.partition(":")[2]


def test_it_sets_only_settings_that_exist():
    known = {
        setting.variable
        for setting in describe(
            BridgeSettings, ReconcileSettings, StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings
        )
    }
    used = set(OWN.findall(COMPOSE)) - {"BRIDGE_IMAGE"}
    assert used <= known


def test_ports_are_open_to_this_machine_only():
    ports = re.findall(r'^ +ports: \["?(.*?)"?\]$', COMPOSE, re.MULTILINE)
    assert len(ports) == COMPOSE.count("ports:")
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_come_from_the_environment_and_have_no_defaults():
    for line in COMPOSE.splitlines():
        if re.search(r"(TOKEN|TOKENS|PASSWORD|SECRET)\b *:", line):
            assert re.search(r": \$\{[A-Z_]+:\?see \.env\.example\}$", line), line


def test_the_example_has_every_variable_of_the_compose_file():
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", COMPOSE))
    required = set(re.findall(r"\$\{([A-Z0-9_]+):\?", COMPOSE))
    assert required <= set(re.findall(r"^([A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))
    assert used <= set(re.findall(r"^#?([A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))


def test_everything_in_the_image_is_pinned():
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim-bookworm"] * 2
    installs = re.findall(r"pip install ([^\n\\&]*)", DOCKERFILE)
    assert installs
    assert all("--require-hashes" in options or "--no-index" in options for options in installs)


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_the_dashboard_shows_metrics_that_exist(panel):
    described = [*bridge.metrics.describe(), *streams.metrics.describe()]
    known = {metric.name: metric.type for metric in described}
    for target in panel.get("targets", []):
        names = re.findall(r"\b(?:bridge|streams)_[a-z0-9_]+", target["expr"])
        assert names
        for name in names:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in known or known[base] == "histogram", name


def test_prometheus_reads_every_process_of_the_compose_file():
    """With a token that may do nothing else, which each of them knows."""
    targets = set(re.findall(r"[a-z0-9-]+:80[0-9]{2}", PROMETHEUS))
    # It has no token and no port outside.
    targets.remove("reconcile:8095")
    assert targets == {"bridge:8080", *re.findall(r"STREAMS_ADVERTISED_URL: http://(\S+)", COMPOSE)}
    assert PROMETHEUS.count("/run/secrets/metrics_token") == PROMETHEUS.count("job_name") - 1
    assert COMPOSE.count("_METRICS_TOKEN: ${METRICS_TOKEN:") == len(targets)


def test_prometheus_reads_the_alarms():
    assert "rules/*.yml" in PROMETHEUS
