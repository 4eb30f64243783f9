"""The Helm chart, rendered by Helm with many values: lint, the schemas of Kubernetes, and what each pod is.

There is no cluster here. tests/unit/project/test_chart.py has what needs no Helm.
"""

import copy
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.reconcile import signing
from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.settings import OpenBspSettings
from bridge.settings import BridgeSettings
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.settings import load
from streams.settings import StreamsSettings
from support import helm, kubernetes
from support.variables import KNOWN

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
Values = dict[str, Any]

#: What each installation has to set.
LEAST: Values = {
    "kafka": {"bootstrapServers": "kafka-0.kafka:9093, kafka-1.kafka:9094"},
    "schemaRegistry": {"url": "https://registry.example/apis/ccompat/v7"},
    "bridge": {"tokens": {"existingSecret": "bridge-tokens"}},
    "streams": {"tokens": {"existingSecret": "streams-tokens"}},
}
RECONCILE: Values = {
    "enabled": True,
    "openbsp": {"url": "https://project.example", "existingSecret": "openbsp"},
    "bridgeToken": {"existingSecret": "reconcile-token"},
    "signingKey": {"existingSecret": "signing-key"},
}
MONITORED: Values = {
    "bridge": {"metricsToken": {"existingSecret": "bridge-metrics"}},
    "streams": {"metricsToken": {"existingSecret": "streams-metrics"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}
SCRAM: Values = {
    "securityProtocol": "SASL_SSL",
    "tls": {"caSecret": "kafka-ca"},
    "sasl": {"mechanism": "SCRAM-SHA-512", "existingSecret": "kafka-user"},
}
OAUTH: Values = {
    "securityProtocol": "SASL_SSL",
    "sasl": {
        "mechanism": "OAUTHBEARER",
        "existingSecret": "kafka-client",
        "oauth": {"tokenUrl": "https://login.example:8443/token", "scope": "kafka"},
    },
}
MATRIX: dict[str, Values] = {
    "the least": {},
    "no streams": {"streams": {"enabled": False}},
    "no volumes but the spool": {
        "streams": {"persistence": {"enabled": False}},
        "reconcile": {**RECONCILE, "persistence": {"enabled": False}},
    },
    "reconcile": {"reconcile": RECONCILE},
    "reconcile on a schedule": {"reconcile": {**RECONCILE, "mode": "cronjob"}},
    "monitored": {**MONITORED, "reconcile": RECONCILE},
    "traced": {
        "tracing": {
            "endpoint": "http://collector:4318",
            "existingSecret": "otlp",
            "resourceAttributes": "a=b",
            "metrics": True,
        }
    },
    "contacts stay out": {"bridge": {"suppressionKey": {"existingSecret": "suppression"}}},
    "SCRAM": {"kafka": SCRAM, "init": {"kafkaSecret": "deploy"}, "reconcile": RECONCILE},
    "OAuth": {"kafka": OAUTH},
    "mutual TLS": {
        "kafka": {
            "securityProtocol": "SSL",
            "tls": {"caSecret": "ca", "clientSecret": "client", "clientPasswordKey": "password"},
        },
        "schemaRegistry": {
            "existingSecret": "registry-user",
            "tls": {"caSecret": "ca", "clientSecret": "registry-client"},
        },
    },
    "tokens in the environment": {
        "bridge": {"tokens": {"as": "environment"}},
        "streams": {"tokens": {"as": "environment"}},
    },
    "scaled": {
        "bridge": {"autoscaling": {"enabled": True}, "workers": 2, "resources": {"limits": {"memory": "1Gi"}}},
        "streams": {"autoscaling": {"enabled": True, "maxReplicas": 12}},
    },
    "open to the world": {
        "trustedProxies": "10.0.0.0/8",
        "bridge": {
            "ingress": {
                "enabled": True,
                "host": "hooks.example",
                "className": "nginx",
                "tlsSecret": "tls",
                "annotations": {"team": "desk"},
            }
        },
        "streams": {"ingress": {"enabled": True, "host": "views.example", "annotations": {"a": "b"}}},
    },
    "closed to most": {
        "reconcile": RECONCILE,
        "networkPolicy": {
            "bridgeFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
            "streamsFrom": [{"namespaceSelector": {"matchLabels": {"name": "desk"}}}],
            "reconcileFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "kafkaTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
            "kafkaPorts": [9095],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 4318}]}],
        },
    },
    "a house's own": {
        "fullnameOverride": "a-rather-long-name-for-a-release-of-this-bridge-in-production",
        "serviceAccountName": "openbsp",
        "image": {"repository": "registry.example/openbsp", "digest": f"sha256:{'0' * 64}", "pullSecrets": ["pull"]},
        "networkPolicy": {"enabled": False},
        "reconcile": {**RECONCILE, "mode": "cronjob"},
        **{
            component: {
                "podAnnotations": {"a": "b"},
                "podLabels": {"team": "desk"},
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "priorityClassName": "high",
                "persistence": {"storageClassName": "fast", "annotations": {"a": "b"}},
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ],
            }
            for component in ("bridge", "streams")
        },
    },
}
SET = "StatefulSet"
OTHERS = {"POD_NAME", "FORWARDED_ALLOW_IPS"}
#: The oldest version of Kubernetes that the chart admits, and the newest.
OLDEST = yaml.safe_load((helm.CHART / "Chart.yaml").read_text("utf-8"))["kubeVersion"].strip(">=").removesuffix("-0")
VERSIONS = (OLDEST, kubernetes.NEWEST)


def merged(*all_values: Values) -> Values:
    """Return values over others, as Helm merges them."""
    result: Values = {}
    for values in all_values:
        for name, value in values.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if both else copy.deepcopy(value)
    return result


@pytest.fixture(scope="module")
def rendered() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return what the chart makes of each of the matrix' values, for each version of Kubernetes."""
    cases = [(case, version) for case in MATRIX for version in VERSIONS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda of: helm.render(merged(LEAST, MATRIX[of[0]]), of[1]), cases)
        return dict(zip(cases, made, strict=True))


@pytest.fixture(scope="module", params=MATRIX)
def objects(request: pytest.FixtureRequest, rendered: dict[tuple[str, str], list[dict[str, Any]]]) -> Any:
    """Return what the chart makes of one of the matrix' values."""
    return rendered[request.param, VERSIONS[-1]]


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the component and the spec of each kind of pod."""
    for each in objects:
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_the_values_of_the_page_render():
    page = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
    first, *others = [
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]
    for values in (first, *(merged(first, other) for other in others)):
        assert helm.render(values, VERSIONS[-1])
        assert helm.run("lint", "--strict", "--kube-version", VERSIONS[-1], values=values).returncode == 0


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_helm_finds_nothing_to_say(values: Values):
    result = helm.run("lint", "--strict", "--kube-version", VERSIONS[-1], values=merged(LEAST, values))
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


OPERATOR = "monitoring.coreos.com/"


def test_kubernetes_knows_every_field(rendered):
    own = {
        case: [each for each in objects if not each["apiVersion"].startswith(OPERATOR)]
        for case, objects in rendered.items()
    }
    found = kubernetes.faults([(version, objects) for (_, version), objects in own.items()])
    assert {case: faults for case, faults in zip(own, found, strict=True) if faults} == {}


def test_a_field_that_kubernetes_does_not_know_is_found():
    objects = helm.render(LEAST, VERSIONS[-1])
    (budget, *_) = [each for each in objects if each["kind"] == "PodDisruptionBudget"]
    budget["spec"]["maxUnavailible"] = 1
    ((fault,),) = kubernetes.faults([(VERSIONS[-1], objects)])
    assert "maxUnavailible" in fault


def of_the_operator() -> list[dict[str, Any]]:
    """Return the objects that the Prometheus operator reads, of every kind that the chart makes."""
    objects = helm.render(merged(LEAST, MATRIX["monitored"]), VERSIONS[-1])
    return [each for each in objects if each["apiVersion"].startswith(OPERATOR)]


def test_the_prometheus_operator_knows_every_field():
    found = of_the_operator()
    assert {each["kind"] for each in found} == {"ServiceMonitor", "PrometheusRule"}
    for each in found:
        assert each["apiVersion"] == f"{OPERATOR}v1"
        assert kubernetes.operator_faults(each) == []


def test_what_the_prometheus_operator_would_drop_or_refuse_is_found():
    for each in of_the_operator():
        if each["kind"] == "ServiceMonitor":
            each["spec"]["endpoints"][0] |= {"intervall": "15s", "scrapeTimeout": "soon"}
            faults = kubernetes.operator_faults(each)
            assert len(faults) == 2
            assert "'intervall' was unexpected" in str(faults)
        else:
            each["spec"]["groups"][0]["rules"][0]["for"] = 60
            (fault,) = kubernetes.operator_faults(each)
            assert "60 is not of type 'string'" in fault


def test_every_name_is_one_that_kubernetes_takes(objects):
    kinds = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(kinds)) == len(kinds)
    for kind, name in kinds:
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
        # A StatefulSet's pods have its name and a hash in a label; a CronJob's jobs its name and a time.
        assert len(name) <= (52 if kind in {"StatefulSet", "CronJob"} else 63), name


def test_each_variable_is_a_setting_and_is_set_once(objects):
    for _, pod in pods(objects):
        for container in containers(pod):
            names = [variable["name"] for variable in container["env"]]
            assert len(set(names)) == len(names)
            assert {name for name in names if not name.startswith("OTEL_")} - OTHERS <= set(KNOWN)
            for variable in container["env"]:
                if variable["name"] in KNOWN and KNOWN[variable["name"]].type == "secret":
                    assert set(variable) == {"name", "valueFrom"}
                    assert set(variable["valueFrom"]) == {"secretKeyRef"}


def test_each_process_can_use_its_environment(objects, tmp_path, monkeypatch):
    """As Kubernetes makes it, with Secrets that have something usable in each key."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"desk {hashlib.sha256(b'a' * 24).hexdigest()}\n")
    read = {
        "bridge": [BridgeSettings, KafkaSettings, RegistrySettings, TopicSettings],
        "streams": [StreamsSettings, KafkaSettings, RegistrySettings, TopicSettings],
        "init": [KafkaSettings, RegistrySettings, TopicSettings],
        "reconcile": [ReconcileSettings, OpenBspSettings, KafkaSettings, RegistrySettings, TopicSettings],
    }
    for component, pod in pods(objects):
        for container in containers(pod):
            with monkeypatch.context() as environment:
                for variable in container["env"]:
                    name, value = variable["name"], variable.get("value")
                    if value is None:
                        value = "desk=" + "a" * 24 if name.endswith("_TOKENS") else "a" * 32
                    # Whatever is mounted: settings check that it is there, and read tokens.
                    if name.endswith("_FILE"):
                        value = str(tokens)
                    environment.setenv(name, value.replace("$(POD_NAME)", "pod-0"))
                load(*read[component])


def test_no_pod_may_do_more_than_it_needs(objects):
    found = list(pods(objects))
    assert found
    for _, pod in found:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert len(mounts) == len(container["volumeMounts"])
            writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
            assert writable - {"/tmp"} <= {f"/var/lib/openbsp/{name}" for name in ("spool", "streams", "reconcile")}
            assert all("subPath" not in mount for mount in mounts.values())


def test_each_mounted_volume_is_there(objects):
    claims = {
        template["metadata"]["name"]
        for each in objects
        for template in each.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for _, pod in pods(objects):
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert volumes <= mounted <= volumes | claims
        # A certificate that a variable names is mounted there.
        paths = {mount["mountPath"] for container in containers(pod) for mount in container["volumeMounts"]}
        for container in containers(pod):
            for variable in container["env"]:
                if variable["name"].endswith(("_FILE", "_DIR")):
                    path = Path(variable["value"])
                    assert {str(path), str(path.parent)} & paths, variable


def test_the_spool_is_a_claim_that_outlives_its_pod_and_the_release(objects):
    (bridge,) = [
        each for each in objects if each["kind"] == "StatefulSet" and each["metadata"]["name"].endswith("bridge")
    ]
    assert [claim["metadata"]["name"] for claim in bridge["spec"]["volumeClaimTemplates"]] == ["spool"]
    assert set(bridge["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    pod = bridge["spec"]["template"]["spec"]
    assert "spool" not in {volume["name"] for volume in pod["volumes"]}
    (container,) = pod["containers"]
    (spool,) = [mount for mount in container["volumeMounts"] if mount["name"] == "spool"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["BRIDGE_SPOOL_DIR"] == spool["mountPath"]


def test_pods_have_longer_to_end_than_they_take(objects):
    stops = {"bridge": "BRIDGE_SHUTDOWN_S", "streams": "STREAMS_SHUTDOWN_TIMEOUT_S"}
    for component, pod in pods(objects):
        if component in stops:
            (container,) = pod["containers"]
            environment = {variable["name"]: variable.get("value") for variable in container["env"]}
            before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
            assert pod["terminationGracePeriodSeconds"] >= before + float(environment[stops[component]]) + 10


def test_probes_ask_a_port_that_the_process_listens_on(objects):
    ports = {"bridge": "BRIDGE_PORT", "streams": "STREAMS_PORT", "reconcile": "RECONCILE_METRICS_PORT"}
    for component, pod in pods(objects):
        for container in pod["containers"]:
            environment = {variable["name"]: variable.get("value") for variable in container["env"]}
            named = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            if component in {"bridge", "streams"}:
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
                assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    assert str(named[container[probe]["httpGet"]["port"]]) == environment[ports[component]]


def test_each_service_leads_to_pods_that_listen(objects):
    templates = [each["spec"]["template"] for each in objects if each["kind"] in {"StatefulSet", "Deployment"}]
    services = {each["metadata"]["name"]: each for each in objects if each["kind"] == "Service"}
    for service in services.values():
        (pod,) = [
            template
            for template in templates
            if service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for each in objects:
        if each["kind"] == "StatefulSet":
            assert services[each["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"


def test_workers_reach_each_other_by_names_that_services_give(objects):
    services = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Service"}
    for component, pod in pods(objects):
        if component == "streams":
            environment = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
            match = re.fullmatch(
                r"http://\$\(POD_NAME\)\.([a-z-]+)\.bsp\.svc:(\d+)", environment["STREAMS_ADVERTISED_URL"]
            )
            assert match
            assert services[match[1]]["publishNotReadyAddresses"] is True
            assert int(match[2]) == services[match[1]]["ports"][0]["port"] == int(environment["STREAMS_PORT"])
            names = list(environment)
            assert names.index("POD_NAME") < names.index("STREAMS_ADVERTISED_URL")


def test_numbers_are_written_as_the_settings_read_them():
    """Helm's numbers are floating point: 1073741824 would become 1.073741824e+09, which is no integer."""
    values = {
        "bridge": {"settings": {"BRIDGE_SPOOL_MAX_BYTES": 3_221_225_472, "BRIDGE_DEADLINE_S": 1.5}},
        "streams": {"settings": {"STREAMS_ROCKSDB_MEMORY_BYTES": 536_870_912, "STREAMS_LOG_LEVEL": "DEBUG"}},
        "topics": {"retentionDays": 0.5, "partitions": 48},
    }
    found = {
        variable["name"]: variable.get("value")
        for _, pod in pods(helm.render(merged(LEAST, values), VERSIONS[-1]))
        for container in containers(pod)
        for variable in container["env"]
    }
    wanted = {
        "BRIDGE_SPOOL_MAX_BYTES": "3221225472",
        "BRIDGE_DEADLINE_S": "1.5",
        "STREAMS_ROCKSDB_MEMORY_BYTES": "536870912",
        "STREAMS_LOG_LEVEL": "DEBUG",
        "TOPIC_RETENTION_DAYS": "0.5",
        "TOPIC_PARTITIONS": "48",
    }
    assert wanted.items() <= found.items()


def test_topics_and_schemas_come_before_the_processes():
    (job,) = [each for each in helm.render(LEAST, VERSIONS[-1]) if each["kind"] == "Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    assert [container["command"] for container in containers(pod)] == [
        ["bridge", "topics", "apply"],
        ["bridge", "schemas", "register"],
    ]
    assert not [
        each for each in helm.render(merged(LEAST, {"init": {"enabled": False}}), VERSIONS[-1]) if each["kind"] == "Job"
    ]


def test_the_job_is_not_held_up_by_the_policy_of_the_former_release():
    """Before the job, Helm applies only hooks, in the order of their weights. What any policy allows a pod, it may."""
    upgrade = {
        "kafka": {**SCRAM, "bootstrapServers": "kafka-0:9193"},
        "schemaRegistry": {"url": "https://registry.example:8443"},
        "init": {"kafkaSecret": "deploy"},
        "bridge": {"kafkaSecret": "bridge"},
        "streams": {"kafkaSecret": "streams"},
        "networkPolicy": {"kafkaPorts": [9194]},
    }
    hooks, others = [], []
    for each in helm.render(merged(LEAST, upgrade), VERSIONS[-1]):
        (hooks if "helm.sh/hook" in each["metadata"].get("annotations", {}) else others).append(each)
    hooks.sort(key=lambda each: int(each["metadata"]["annotations"].get("helm.sh/hook-weight", 0)))
    assert [each["kind"] for each in hooks] == ["NetworkPolicy", "Job"]
    policy, job = hooks
    assert policy["metadata"]["annotations"]["helm.sh/hook"] == job["metadata"]["annotations"]["helm.sh/hook"]
    # A hook is not deleted with its release.
    assert "hook-succeeded" in policy["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    opened = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert {9193, 9194, 8443} <= opened
    selected = [each["spec"]["podSelector"]["matchLabels"] for each in others if each["kind"] == "NetworkPolicy"]
    assert not [each for each in selected if each.items() <= labels.items()]
    # Of releases before there was this hook; Helm deletes it when it has applied the new release.
    assert policy["metadata"]["name"] != "release-openbsp-bridge-init"


def test_without_the_job_there_is_no_policy_for_it():
    objects = helm.render(merged(LEAST, {"init": {"enabled": False}}), VERSIONS[-1])
    assert not [each for each in objects if each["metadata"]["name"].endswith("-init-hook")]


def test_prometheus_has_the_alerts_that_are_tested_and_reads_each_process():
    objects = helm.render(merged(LEAST, MONITORED, {"reconcile": RECONCILE}), VERSIONS[-1])
    (rules,) = [each for each in objects if each["kind"] == "PrometheusRule"]
    groups = [
        group
        for path in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    ]
    assert rules["spec"]["groups"] == groups
    monitors = [each for each in objects if each["kind"] == "ServiceMonitor"]
    services = [each for each in objects if each["kind"] == "Service"]
    assert len(monitors) == 3
    for monitor in monitors:
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        # Of one service only: of two, every pod would be read twice.
        (service,) = [
            each
            for each in services
            if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        ]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        if endpoint["port"] == "http":
            assert set(endpoint["authorization"]["credentials"]) == {"name", "key"}
    (dashboard,) = [each for each in objects if each["kind"] == "ConfigMap"]
    wanted = (ROOT / "deploy" / "grafana" / "dashboards" / "openbsp.json").read_text("utf-8")
    assert dashboard["data"]["openbsp.json"].strip() == wanted.strip()


def test_a_policy_opens_the_ports_that_are_needed_and_no_others():
    objects = helm.render(merged(LEAST, {"kafka": OAUTH, "reconcile": RECONCILE}), VERSIONS[-1])
    policies = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each["spec"]
        for each in objects
        if each["kind"] == "NetworkPolicy"
    }
    servers = {53, 9093, 9094, 443, 8443}
    opened = {
        component: {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        for component, spec in policies.items()
    }
    assert opened == {
        "bridge": servers,
        "init": servers,
        "streams": servers | {8080, 8090},
        "reconcile": servers | {8080},
    }
    admitted = {
        component: [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        for component, spec in policies.items()
    }
    assert admitted == {"bridge": [8080], "init": [], "streams": [8090], "reconcile": [8095]}


def test_traces_may_reach_their_collector():
    objects = helm.render(merged(LEAST, MATRIX["traced"]), VERSIONS[-1])
    reached = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for each in objects
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"]["egress"]
        if {"protocol": "TCP", "port": 4318} in rule["ports"]
    }
    assert reached == {"bridge", "streams"}
    for component, pod in pods(objects):
        variables = {variable["name"]: variable for variable in pod["containers"][0]["env"]}
        assert ("OTEL_EXPORTER_OTLP_ENDPOINT" in variables) == (component in reached)
        if component in reached:
            assert variables["OTEL_TRACES_SAMPLER_ARG"]["value"] == "0.01"
            assert "secretKeyRef" in variables["OTEL_EXPORTER_OTLP_HEADERS"]["valueFrom"]


def test_the_key_of_the_suppression_list_is_a_secret_of_the_bridge_alone():
    for case, expected in (("contacts stay out", {"bridge"}), ("the least", set())):
        found = {
            component
            for component, pod in pods(helm.render(merged(LEAST, MATRIX[case]), VERSIONS[-1]))
            for container in containers(pod)
            for variable in container["env"]
            if variable["name"] == "BRIDGE_SUPPRESSION_KEY"
            and variable["valueFrom"]["secretKeyRef"] == {"name": "suppression", "key": "suppression-key"}
        }
        assert found == expected


@pytest.mark.parametrize("case", ["reconcile", "reconcile on a schedule"])
def test_the_key_that_signs_reports_can_be_used_as_it_is_mounted(case: str, tmp_path: Path, monkeypatch):
    objects = helm.render(merged(LEAST, MATRIX[case]), VERSIONS[-1])
    (pod,) = [pod for component, pod in pods(objects) if component == "reconcile"]
    (volume,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "signing-key"]
    key = tmp_path / "key"
    signing.make_key(key)
    # The kubelet leaves it to root, gives it to the group of the pod, and adds to the mode that this may read.
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    key.chmod(volume["defaultMode"] | 0o440)
    monkeypatch.setattr("os.geteuid", lambda: key.stat().st_uid + 1)
    assert signing.load_key(key)


def test_outside_the_cluster_the_bridge_has_webhooks_and_nothing_else():
    objects = helm.render(merged(LEAST, MATRIX["open to the world"]), VERSIONS[-1])
    paths = {
        each["metadata"]["name"].rpartition("-")[2]: [
            (path["path"], path["pathType"]) for path in each["spec"]["rules"][0]["http"]["paths"]
        ]
        for each in objects
        if each["kind"] == "Ingress"
    }
    assert paths == {"bridge": [("/webhooks", "Exact"), ("/webhooks/", "Exact")], "streams": [("/", "Prefix")]}
    (bridge,) = [each for each in objects if each["kind"] == "Ingress" and each["metadata"]["name"].endswith("-bridge")]
    # As the page has it for an nginx of one's own: the bridge refuses what is too large, and keeps a dead letter.
    assert bridge["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/proxy-body-size": "8m", "team": "desk"}


def test_a_broker_without_a_port_is_reached_on_that_of_kafka():
    objects = helm.render(merged(LEAST, {"kafka": {"bootstrapServers": "kafka-0, kafka-1:9094"}}), VERSIONS[-1])
    for each in objects:
        if each["kind"] == "NetworkPolicy":
            reached = [{port["port"] for port in rule["ports"]} for rule in each["spec"]["egress"]]
            assert {9092, 9094} in reached, each["metadata"]["name"]


def test_other_ports_of_brokers_are_open_beside_those_that_clients_start_from():
    objects = helm.render(merged(LEAST, MATRIX["closed to most"]), VERSIONS[-1])
    for each in objects:
        if each["kind"] == "NetworkPolicy":
            reached = [{port["port"] for port in rule["ports"]} for rule in each["spec"]["egress"]]
            assert {9093, 9094, 9095} in reached, each["metadata"]["name"]


def test_a_narrowed_policy_still_admits_the_release_itself():
    objects = helm.render(merged(LEAST, MATRIX["closed to most"]), VERSIONS[-1])
    for each in objects:
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"].endswith(("bridge", "streams")):
            (rule,) = each["spec"]["ingress"]
            assert rule["from"][-1]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "release"
            assert len(rule["from"]) == 2


def test_bridges_are_only_scaled_up_and_workers_not_beyond_the_partitions():
    objects = helm.render(merged(LEAST, MATRIX["scaled"]), VERSIONS[-1])
    scalers = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "HorizontalPodAutoscaler"}
    sets = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "StatefulSet"}
    assert set(scalers) == set(sets) == {"release-openbsp-bridge-bridge", "release-openbsp-bridge-streams"}
    assert scalers["release-openbsp-bridge-bridge"]["behavior"]["scaleDown"] == {"selectPolicy": "Disabled"}
    # With a number of the values, each upgrade would undo what the autoscaler decided.
    assert all("replicas" not in spec for spec in sets.values())


@contextmanager
def cluster(**replicas: int) -> Iterator[str]:
    """Run so much of a Kubernetes API that the chart finds these StatefulSets; yield its address."""
    kind = {"name": "statefulsets", "namespaced": True, "kind": SET, "verbs": ["get"]}
    answers = {"/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [kind]}} | {
        f"/apis/apps/v1/namespaces/bsp/statefulsets/release-openbsp-bridge-{name}": {
            "apiVersion": "apps/v1",
            "kind": SET,
            "spec": {"replicas": number},
        }
        for name, number in replicas.items()
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            content = json.dumps(found or {"kind": "Status", "status": "Failure", "reason": "NotFound"}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def upgraded(address: str) -> dict[str, Values]:
    """Return the specs of the StatefulSets of an upgrade with autoscalers in this cluster, by name."""
    asking = ("--dry-run=server", "--kube-apiserver", address, "--kube-version", VERSIONS[-1])
    result = helm.run("template", "release", "--namespace", "bsp", *asking, values=merged(LEAST, MATRIX["scaled"]))
    assert result.returncode == 0, result.stderr
    return {each["metadata"]["name"]: each["spec"] for each in yaml.safe_load_all(result.stdout) if each["kind"] == SET}


def test_an_upgrade_leaves_the_autoscalers_pods_as_they_are():
    """Where a number was and is none, Kubernetes takes 1: all bridges but one would end, and their spools wait."""
    with cluster(bridge=5) as address:
        sets = upgraded(address)
    assert sets["release-openbsp-bridge-bridge"]["replicas"] == 5
    assert "replicas" not in sets["release-openbsp-bridge-streams"], "there is none yet"


def test_an_upgrade_starts_what_was_stopped_before_it():
    """As docs/operations.md says, "Upgrading". An autoscaler leaves a set alone that has no pods."""
    with cluster(streams=0) as address:
        sets = upgraded(address)
    assert sets["release-openbsp-bridge-streams"]["replicas"] == 2


@pytest.mark.parametrize(
    "bridge",
    [
        {"podDisruptionBudget": {"maxUnavailable": "50%"}},
        {"replicas": 3, "podDisruptionBudget": {"maxUnavailable": 2}},
        # It is drained whatever the budget says, or no node could be.
        {"replicas": 1},
        {"podDisruptionBudget": {"enabled": False, "maxUnavailable": 2}},
    ],
)
def test_some_bridges_may_be_drained_while_one_stays(bridge: Values):
    assert helm.render(merged(LEAST, {"bridge": bridge}), VERSIONS[-1])


@pytest.mark.parametrize(
    "bridge",
    [
        {"workers": 2, "resources": {"limits": {"memory": "780Mi"}}},
        {"resources": {"limits": {"memory": "0.5Gi"}}},
        {"resources": {"limits": {"memory": "409M"}}},
        {"resources": {"limits": {"memory": 408_944_640}}},
        {"workers": 4, "settings": {"BRIDGE_MEMORY_BYTES": 58 * 2**20}},
        # As much as the node has.
        {"workers": 4, "resources": {"limits": {"memory": None}}},
        {"workers": 4, "resources": {"limits": None}},
    ],
)
def test_a_bridge_may_have_the_memory_that_its_workers_need(bridge: Values):
    assert helm.render(merged(LEAST, {"bridge": bridge}), VERSIONS[-1])


def test_one_pod_after_the_other_may_be_disturbed():
    objects = helm.render(LEAST, VERSIONS[-1])
    budgets = [each["spec"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    assert [budget["maxUnavailable"] for budget in budgets] == [1, 1]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"bridge": {"persistence": {"enabled": False}}}, "does not put the spool on an emptyDir"),
        ({"bridge": {"persistence": {"size": "512Mi"}}}, "the spools may become larger"),
        ({"bridge": {"workers": 5}}, "the spools may become larger"),
        ({"bridge": {"settings": {"BRIDGE_SPOOL_MAX_BYTES": 5 * 2**30}}}, "the spools may become larger"),
        ({"bridge": {"workers": 2}}, "limits.memory is 768Mi, and has to be 780Mi at least"),
        ({"bridge": {"resources": {"limits": {"memory": 408_944_639}}}}, "has to be 390Mi at least"),
        ({"bridge": {"resources": {"limits": {"memory": "400M"}}}}, "has to be 390Mi at least"),
        ({"bridge": {"settings": {"BRIDGE_MEMORY_BYTES": 2**30}}}, "has to be 1158Mi at least"),
        ({"bridge": {"tokens": {"existingSecret": ""}}}, "bridge.tokens.existingSecret is not set"),
        ({"streams": {"tokens": {"existingSecret": ""}}}, "streams.tokens.existingSecret is not set"),
        ({"kafka": {"bootstrapServers": ""}}, "where are the brokers?"),
        ({"schemaRegistry": {"url": ""}}, "where is the schema registry?"),
        ({"streams": {"replicas": 13}}, "the other workers would have nothing to do"),
        ({"streams": {"autoscaling": {"enabled": True, "maxReplicas": 13}}}, "nothing to do"),
        ({"kafka": {"securityProtocol": "SASL_SSL"}}, "kafka.sasl.mechanism is not set"),
        ({"kafka": {"sasl": {"mechanism": "PLAIN"}}}, "no credentials would be asked for"),
        (
            {
                "kafka": {**SCRAM, "sasl": {"mechanism": "PLAIN"}},
                "bridge": {"kafkaSecret": "a"},
                "streams": {"kafkaSecret": "a"},
            },
            "nor init.kafkaSecret is set",
        ),
        ({"reconcile": {"enabled": True}}, "reconcile needs reconcile.openbsp.url"),
        ({"serviceMonitor": {"enabled": True}}, "needs bridge.metricsToken.existingSecret"),
        ({"bridge": {"ingress": {"enabled": True}}}, "bridge.ingress.host is not set"),
        ({"bridge": {"settings": {"BRIDGE_TOKENS": "a=b"}}}, "BRIDGE_TOKENS"),
        ({"bridge": {"replica": 3}}, "replica"),
        ({"bridge": {"podDisruptionBudget": {"maxUnavailable": 2}}}, "all 2 bridges could be drained at once"),
        ({"bridge": {"podDisruptionBudget": {"maxUnavailable": "51%"}}}, "all 2 bridges could be drained at once"),
        ({"bridge": {"podDisruptionBudget": {"maxUnavailable": "all"}}}, "maxUnavailable"),
        ({"topics": {"minInsyncReplicas": 4}}, "no write could succeed"),
    ],
)
def test_what_would_lose_webhooks_or_not_run_is_refused_with_a_sentence(values: Values, sentence: str):
    assert sentence in helm.refusal(merged(LEAST, values), VERSIONS[-1])
