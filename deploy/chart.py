"""Writes what the Helm chart has from elsewhere; with --check, says what is stale instead.

That is the alert rules and the dashboard, and values.schema.json: the shape of values.yaml with the bounds that stand
here, and the settings of the processes that a value may set.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.settings import OpenBspSettings
from bridge.settings import BridgeSettings
from openbsp.kafka.connection import Compression, SaslMechanism, SecurityProtocol
from openbsp.settings import Setting, describe
from streams.settings import StreamsSettings

DEPLOY = Path(__file__).parent
CHART = DEPLOY / "helm" / "openbsp-bridge"

#: Which settings `settings` of a component may set: all of these but secrets and what the chart sets itself.
SETTINGS = {"bridge": [BridgeSettings], "streams": [StreamsSettings], "reconcile": [ReconcileSettings, OpenBspSettings]}
SET_BY_THE_CHART = {
    *(f"BRIDGE_{name}" for name in ("HOST", "PORT", "WORKERS", "SPOOL_DIR", "SHUTDOWN_S", "TOKENS_FILE")),
    *(f"STREAMS_{name}" for name in ("HOST", "PORT", "DATA_DIR", "SHUTDOWN_TIMEOUT_S", "TOKENS_FILE")),
    *(f"STREAMS_{name}" for name in ("BRIDGE_URL", "ADVERTISED_URL")),
    *(f"RECONCILE_{name}" for name in ("BRIDGE_URL", "DIR", "SIGNING_KEY_FILE", "METRICS_HOST", "METRICS_PORT")),
    "OPENBSP_URL",
}

_TYPES: dict[type, str] = {bool: "boolean", str: "string", int: "integer", float: "number"}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
#: Without credentials: no secret is a value.
_ADDRESS = {"type": "string", "pattern": "^(https?://[^@]+)?$"}
_POSITIVE = {"type": "integer", "minimum": 1}
_DAYS = {"type": "number", "minimum": 0}
_SECONDS = {"type": "integer", "minimum": 0, "maximum": 3600}
_RETENTION = {"enum": ["Retain", "Delete"]}

#: What the default of a value does not say, by the end of the value's path; the first that fits counts.
BOUNDS: dict[str, dict[str, Any]] = {
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": {"type": "array", "items": {"type": "string"}},
    "kafka.securityProtocol": {"enum": [each.value for each in SecurityProtocol]},
    "kafka.compression": {"enum": [each.value for each in Compression]},
    "kafka.sasl.mechanism": {"enum": ["", *(each.value for each in SaslMechanism)]},
    "kafka.bootstrapServers": {"type": "string", "pattern": "^[^@]*$"},
    "kafka.sasl.oauth.tokenUrl": _ADDRESS,
    "schemaRegistry.url": _ADDRESS,
    "schemaRegistry.timeoutSeconds": {"type": "number", "exclusiveMinimum": 0},
    "topics.partitions": _POSITIVE,
    "topics.replicationFactor": _POSITIVE,
    "topics.minInsyncReplicas": _POSITIVE,
    "topics.retentionDays": _DAYS,
    "topics.deadLetterRetentionDays": _DAYS,
    "tracing.endpoint": _ADDRESS,
    "reconcile.mode": {"enum": ["continuous", "cronjob"]},
    "reconcile.every": {"type": "string", "pattern": "^[1-9][0-9]*[smhd]$"},
    "reconcile.openbsp.url": _ADDRESS,
    "networkPolicy.kafkaPorts": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "tokens.as": {"enum": ["file", "environment"]},
    "bridge.workers": {"type": "integer", "minimum": 1, "maximum": 64},
    "replicas": _POSITIVE,
    "maxReplicas": _POSITIVE,
    "targetCPUUtilizationPercentage": {"type": "integer", "minimum": 1, "maximum": 100},
    "shutdownSeconds": {"type": "integer", "minimum": 1, "maximum": 3600},
    "preStopSeconds": _SECONDS,
    "deadlineSeconds": _POSITIVE,
    "persistence.size": {"type": "string", "pattern": "^[0-9]+(Mi|Gi|Ti)$"},
    "persistence.whenScaled": _RETENTION,
    "persistence.whenDeleted": _RETENTION,
    # All that can be written to.
    "persistence.accessModes": {
        "type": "array",
        "minItems": 1,
        "items": {"enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]},
    },
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]{1,3}%$"},
    "resources": {"type": "object"},
    "labels": _TEXTS,
    "podLabels": _TEXTS,
    "annotations": _TEXTS,
    "podAnnotations": _TEXTS,
    "nodeSelector": _TEXTS,
}


def values_schema() -> str:
    """Return the JSON Schema of the chart's values."""
    schema = _shape("", yaml.safe_load((CHART / "values.yaml").read_text("utf-8")))
    # Helm itself puts this into the values of each chart.
    schema["properties"]["global"] = {"type": "object"}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **schema}, indent=1) + "\n"


def _shape(path: str, value: Any) -> dict[str, Any]:
    component, _, name = path.partition(".")
    if name == "settings":
        return _settings(component)
    for end, bounds in BOUNDS.items():
        if f".{path}".endswith(f".{end}"):
            return bounds
    if isinstance(value, dict) and value:
        properties = {key: _shape(f"{path}.{key}".removeprefix("."), each) for key, each in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    if isinstance(value, dict):
        return {"type": "object"}
    if isinstance(value, list):
        return {"type": "array"}
    return {"type": _TYPES[type(value)]}


def _settings(component: str) -> dict[str, Any]:
    properties = {
        setting.variable: _setting(setting)
        for setting in describe(*SETTINGS[component])
        if setting.type != "secret" and setting.variable not in SET_BY_THE_CHART
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _setting(setting: Setting) -> dict[str, Any]:
    named = {"integer": "integer", "number": "number", "text": "string", "path": "string"}
    if setting.type in named:
        return {"type": named[setting.type], "description": setting.description}
    return {"enum": setting.type.split(" or "), "description": setting.description}


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file of the chart that is made here, and what belongs in it."""
    yield CHART / "values.schema.json", values_schema()
    yield CHART / "files" / "openbsp.json", (DEPLOY / "grafana" / "dashboards" / "openbsp.json").read_text("utf-8")
    for rules in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml")):
        yield CHART / "files" / "rules" / rules.name, rules.read_text("utf-8")


def main() -> int:
    """Write the files, or compare them; return the exit code."""
    wanted = dict(files())
    rules = CHART / "files" / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    surplus = [path for path in rules.iterdir() if path not in wanted]
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in (*stale, *surplus):
            sys.stderr.write(f"stale: {path.relative_to(DEPLOY)}; run `make chart`\n")
        return 1 if stale or surplus else 0
    for path in stale:
        path.write_text(wanted[path], "utf-8")
    for path in surplus:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
