"""The Helm chart, as far as it can be read without Helm: it agrees with the code, the image and the alert rules."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from bridge.http import openapi as of_bridge
from streams.views.http import openapi as of_streams
from support.variables import KNOWN

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "openbsp-bridge"
ABOUT = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
TEMPLATES = {path.name: path.read_text("utf-8") for path in (CHART / "templates").iterdir()}
TEXT = "\n".join(TEMPLATES.values())
#: Of Kubernetes, and of libraries: openbsp.http.proxies, openbsp.tracing.
OTHERS = {
    "POD_NAME",
    "FORWARDED_ALLOW_IPS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_METRICS_EXPORTER",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}


def test_what_it_has_from_elsewhere_is_as_there():
    """The alert rules, the dashboard, the names of settings. After a change: `make chart`."""
    command = [sys.executable, ROOT / "deploy" / "chart.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_it_installs_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert ABOUT["appVersion"] == ABOUT["version"] == project["version"]
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert f"${{BRIDGE_IMAGE:-{VALUES['image']['repository']}:{ABOUT['appVersion']}}}" in compose


def test_its_variables_are_settings():
    direct = set(re.findall(r"- name: ([A-Z][A-Z0-9_]+)$", TEXT, re.MULTILINE))
    secret = set(re.findall(r'"openbsp\.secret" \(list "([A-Z0-9_]+)"', TEXT))
    assert len(direct | secret) > 40
    assert direct | secret <= set(KNOWN) | OTHERS
    # Those of which the prefix is the component's.
    ends = set(re.findall(r"(?:\{\{ \$prefix \}\}|%s)(_[A-Z_]+)", TEXT))
    assert ends == {"_TOKENS_FILE", "_TOKENS", "_METRICS_TOKEN"}
    assert {f"{prefix}{end}" for prefix in ("BRIDGE", "STREAMS") for end in ends} <= set(KNOWN)


def test_a_secret_is_a_reference_and_never_a_value():
    direct = set(re.findall(r"- name: ([A-Z][A-Z0-9_]+)$", TEXT, re.MULTILINE)) - OTHERS
    assert [name for name in direct if KNOWN[name].type == "secret"] == []
    for name in ("bridge", "streams", "reconcile"):
        allowed = SCHEMA["properties"][name]["properties"]["settings"]["properties"]
        assert allowed
        assert [name for name in allowed if KNOWN[name].type == "secret"] == []
    assert "kind: Secret" not in TEXT


@pytest.mark.parametrize(
    ("prefix", "document", "port"),
    [("BRIDGE", of_bridge, 8080), ("STREAMS", of_streams, 8090)],
    ids=["bridge", "streams"],
)
def test_probes_and_metrics_ask_for_what_there_is(prefix, document, port):
    probed = set(re.findall(r"httpGet: \{ path: (\S+),", TEMPLATES["_helpers.tpl"]))
    assert probed == {"/healthz", "/readyz"}
    assert {*probed, "/metrics"} <= set(document.document()["paths"])
    assert KNOWN[f"{prefix}_PORT"].default == str(port)
    template = TEMPLATES[f"{prefix.lower()}.yaml"]
    assert f"containerPort: {port}\n" in template
    assert f'- name: {prefix}_PORT\n              value: "{port}"\n' in template
    assert KNOWN["RECONCILE_METRICS_PORT"].default in TEMPLATES["reconcile.yaml"]


def test_it_runs_as_the_user_of_the_image_and_writes_to_its_directories():
    image = (ROOT / "Dockerfile").read_text("utf-8")
    (user,) = re.findall(r"^USER (\d+):\1$", image, re.MULTILINE)
    assert set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)", TEXT)) == {user}
    directories = set(re.findall(r"mountPath: (/var/lib/openbsp/\w+)", TEXT))
    assert directories == set(re.findall(r"_DIR=(/var/lib/openbsp/\w+)", image))


def test_the_defaults_are_those_of_the_settings():
    topics = VALUES["topics"]
    for value, variable in {
        "prefix": "TOPIC_PREFIX",
        "partitions": "TOPIC_PARTITIONS",
        "replicationFactor": "TOPIC_REPLICATION_FACTOR",
        "minInsyncReplicas": "TOPIC_MIN_INSYNC_REPLICAS",
        "retentionDays": "TOPIC_RETENTION_DAYS",
        "deadLetterRetentionDays": "TOPIC_DEAD_LETTER_RETENTION_DAYS",
    }.items():
        assert type(topics[value])(KNOWN[variable].default.removesuffix(".0")) == topics[value]
    assert VALUES["kafka"]["compression"] == KNOWN["KAFKA_COMPRESSION"].default
    assert VALUES["bridge"]["shutdownSeconds"] == float(KNOWN["BRIDGE_SHUTDOWN_S"].default)
    assert VALUES["streams"]["shutdownSeconds"] == float(KNOWN["STREAMS_SHUTDOWN_TIMEOUT_S"].default)
    # The check of the volume's size.
    assert f"default {KNOWN['BRIDGE_SPOOL_MAX_BYTES'].default} .bridge" in TEMPLATES["_helpers.tpl"]


def test_the_memory_that_a_worker_needs_is_that_of_the_documentation():
    (rest,) = re.findall(r"Plan \((\d+) MiB \+ limit \+ 64 MiB\)", (ROOT / "docs" / "delivery.md").read_text("utf-8"))
    limit = KNOWN["BRIDGE_MEMORY_BYTES"].default
    assert f"(add {int(rest) * 2**20} (default {limit} .bridge" in TEMPLATES["_helpers.tpl"]
    assert f"BRIDGE_MEMORY_BYTES | int64) {64 * 2**20})" in TEMPLATES["_helpers.tpl"]


def test_the_schema_takes_the_defaults_and_no_other_names():
    jsonschema.validate(VALUES, SCHEMA)
    for wrong in (
        {"bridge": {"replica": 3}},
        {"bridge": {"settings": {"BRIDGE_TOKENS": "a=b"}}},
        {"bridge": {"settings": {"BRIDGE_SPOOL_DIR": "/tmp"}}},
        {"bridge": {"settings": {"BRIDGE_DEADLINE": 1}}},
        {"bridge": {"persistence": {"size": "10G"}}},
        {"kafka": {"sasl": {"mechanism": "GSSAPI"}}},
        # A spool that cannot be written to.
        {"bridge": {"persistence": {"accessModes": ["ReadOnlyMany"]}}},
        {"bridge": {"podDisruptionBudget": {"maxUnavailable": "most"}}},
        # Secrets as values.
        {"kafka": {"bootstrapServers": "user:secret@kafka:9092"}},
        {"kafka": {"sasl": {"oauth": {"tokenUrl": "https://id:secret@login.example"}}}},
        {"schemaRegistry": {"url": "https://user:secret@registry.example"}},
        {"reconcile": {"openbsp": {"url": "https://user:secret@project.example"}}},
        # Without a pause.
        {"reconcile": {"every": "0s"}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


def test_its_page_shows_values_that_exist():
    page = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
    examples = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        jsonschema.validate(yaml.safe_load(example), SCHEMA)
    for path in re.findall(
        r"`((?:bridge|streams|init|reconcile|kafka|topics|networkPolicy|serviceMonitor|tracing)\.\w[\w.]*)`", page
    ):
        value = VALUES
        for name in path.split("."):
            assert name in value, path
            value = value[name]
