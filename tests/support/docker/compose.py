"""The compose file, up as a project of its own: other names, other ports, tokens of the test."""

import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from openbsp.local.ports import free_ports
from support.docker.image import ROOT

UP_S = 300
PORTS = ("KAFKA", "REGISTRY", "BRIDGE", "VIEWS_1", "VIEWS_2")


@dataclass(frozen=True)
class Compose:
    """A compose project. `environment` is what .env would hold."""

    name: str
    environment: Mapping[str, str]

    @classmethod
    def of_image(cls, image: str) -> "Compose":
        """Choose a name, ports and tokens that nobody else has."""
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        return cls(
            f"openbsp-test-{secrets.token_hex(4)}",
            {
                "BRIDGE_IMAGE": image,
                "BRIDGE_TOKENS": f"sender={secrets.token_urlsafe(24)}",
                "STREAMS_TOKENS": f"reader={secrets.token_urlsafe(24)}",
                "METRICS_TOKEN": secrets.token_urlsafe(24),
                "GRAFANA_PASSWORD": secrets.token_urlsafe(24),
                "BRIDGE_SUPPRESSION_KEY": secrets.token_hex(32),
                "TOPIC_PARTITIONS": "4",
                **{f"PORT_{name}": str(port) for name, port in ports.items()},
            },
        )

    @property
    def kafka(self) -> str:
        return f"127.0.0.1:{self.environment['PORT_KAFKA']}"

    @property
    def registry(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT_REGISTRY']}/apis/ccompat/v7"

    def run(self, *arguments: str, timeout: float = UP_S) -> str:
        """Run `docker compose` on the project and return what it says; AssertionError if it fails."""
        # No .env of the developer, whose settings would come first.
        command = ["docker", "compose", "--env-file", os.devnull, "--project-name", self.name, *arguments]
        result = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert result.returncode == 0, f"{' '.join(arguments)}: {result.stdout}{result.stderr}"
        return result.stdout

    def states(self) -> dict[str, tuple[str, str, int]]:
        """Return state, health and exit code of each service's container."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        containers = [json.loads(line) for line in lines]
        return {each["Service"]: (each["State"], each["Health"], each["ExitCode"]) for each in containers}

    def post(self, body: bytes) -> httpx.Response:
        """Send a webhook as OpenBSP would, once."""
        return httpx.post(
            f"http://127.0.0.1:{self.environment['PORT_BRIDGE']}/webhooks",
            content=body,
            headers={"Content-Type": "application/json", **self._authorization("BRIDGE_TOKENS")},
            timeout=5,
            trust_env=False,
        )

    def view(self, worker: int, path: str) -> httpx.Response | None:
        """Ask a worker's views; None if nobody answers."""
        try:
            return httpx.get(
                f"http://127.0.0.1:{self.environment[f'PORT_VIEWS_{worker}']}{path}",
                headers=self._authorization("STREAMS_TOKENS"),
                timeout=5,
                trust_env=False,
            )
        except httpx.TransportError:
            return None

    def _authorization(self, variable: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.environment[variable].partition('=')[2]}"}
