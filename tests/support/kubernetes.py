"""The schemas of Kubernetes, and those of the Prometheus operator, to which what the chart makes is compared."""

import copy
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema

from openbsp.local.artifacts import cache_directory
from support import go
from support.guest import make_environment

#: The newest version of Kubernetes whose schemas there are.
NEWEST = "1.37.0"
_PACKAGE = f"kubernetes-validate=={NEWEST}"
_OPERATOR = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0")

#: Prints what is wrong with the objects of each version and list that it reads, in an environment with `_PACKAGE`.
_PROGRAM = """
import functools, json, sys
from kubernetes_validate import utils
# The library reads its schemas, megabytes, for each object.
utils.schema_contents = functools.cache(utils.schema_contents)
found = []
for version, objects in json.load(sys.stdin):
    faults = [] if version in utils.all_versions() else [f"no schemas of {version}"]
    for each in objects:
        try:
            utils.validate(each, version, strict=True)
        except (utils.ValidationError, utils.SchemaNotFoundError) as error:
            faults.append(f"{each['kind']} {each['metadata']['name']}: {error.message}")
    found.append(faults)
print(json.dumps(found))
"""


@functools.cache
def python() -> Path:
    """Return the Python of an environment with the schemas of Kubernetes: 100 MB that no other test needs."""
    directory = cache_directory() / f"{_PACKAGE}-python{sys.version_info.major}.{sys.version_info.minor}"
    made = directory / "made"
    if not made.exists():
        make_environment(directory, _PACKAGE)
        made.touch()
    return directory / "bin" / "python"


def faults(asked: list[tuple[str, list[dict[str, Any]]]]) -> list[list[str]]:
    """Return for each version and list of objects what that Kubernetes would refuse, or not know.

    All in one process: it takes a second to read the schemas of a version.
    """
    done = subprocess.run(
        [python(), "-c", _PROGRAM],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


@functools.cache
def _resource(kind: str) -> dict[str, Any]:
    """Return the schema of a kind of the Prometheus operator, of its CustomResourceDefinition."""
    path = f"jsonnet/prometheus-operator/{kind.lower()}s-crd.json"
    definition = json.loads((go.source(*_OPERATOR) / path).read_text("utf-8"))
    assert definition["spec"]["names"]["kind"] == kind
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that refuses fields which it does not name. Kubernetes drops them, and nobody notices."""
    strict = copy.deepcopy(schema)
    stack = [strict]
    while stack:
        each = stack.pop()
        if "properties" in each and not each.get("x-kubernetes-preserve-unknown-fields"):
            each.setdefault("additionalProperties", False)
        if each.pop("x-kubernetes-int-or-string", False):
            each.pop("anyOf", None)
            each["type"] = ["integer", "string"]
        if "pattern" in each:
            # Go's flags may stand anywhere, Python's only at the beginning.
            each["pattern"] = each["pattern"].replace("^(?i)", "(?i)^")
        stack += [value for value in each.get("properties", {}).values() if isinstance(value, dict)]
        stack += [each[name] for name in ("items", "additionalProperties") if isinstance(each.get(name), dict)]
    # What every object has besides, which a definition leaves to Kubernetes.
    strict["properties"]["metadata"] = {"type": "object"}
    return strict


def operator_faults(each: dict[str, Any]) -> list[str]:
    """Return what the Prometheus operator would refuse, or not know, in one of its objects."""
    validator = jsonschema.Draft202012Validator(_resource(each["kind"]))
    return [f"{each['kind']} {error.json_path}: {error.message}" for error in validator.iter_errors(each)]
