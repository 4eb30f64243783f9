"""A real schema registry: Apicurio, asked through its Confluent API."""

import ssl
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import httpx

from openbsp.local.ports import LOOPBACK, free_ports
from openbsp.local.properties import write_properties
from openbsp.local.server import JavaServer, local_address

_HEAP = ("-Xms64m", "-Xmx192m")
_INSTANCE_HEADER = "X-Instance"
#: For questions without TLS. Trap: else each of them loads all authorities of the machine, for 18 ms of a processor
#: that the starting registry needs.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class SchemaRegistry(JavaServer):
    """A registry whose subjects, schemas and ids are kept in an H2 database in the data directory."""

    name = "schema_registry"
    bundle: ClassVar = "registry"
    _instance: str  # of the latest launch; every answer contains it

    @property
    def url(self) -> str:
        """The base URL for Confluent clients."""
        return f"http://{local_address(self.port)}/apis/ccompat/v7"

    def _command(self, home: Path) -> Sequence[str]:
        (management_port,) = free_ports(1)
        self._instance = str(uuid.uuid4())
        settings = "registry.properties"
        write_properties(
            self._data_dir / settings,
            {
                "quarkus.http.host": LOOPBACK,
                "quarkus.http.port": self.port,
                "quarkus.management.host": LOOPBACK,
                "quarkus.management.port": management_port,
                f'quarkus.http.header."{_INSTANCE_HEADER}".value': self._instance,
                "quarkus.http.access-log.enabled": False,
                "quarkus.log.console.format": "%d{yyyy-MM-dd'T'HH:mm:ss,SSS} %-5p %m (%c{1})%n",
                "apicurio.storage.kind": "sql",
                "apicurio.storage.sql.kind": "h2",
                # A path relative to the data directory: the full path may contain characters with a meaning in such a
                # URL.
                "apicurio.datasource.url": "jdbc:h2:file:./registry;WRITE_DELAY=0",
                "apicurio.datasource.jdbc.initial-size": 2,
                "apicurio.datasource.jdbc.min-size": 2,
                "apicurio.datasource.jdbc.max-size": 10,
                "apicurio.storage.snapshot.location": "tmp",
                "apicurio.import.work-dir": "tmp",
                # As in Confluent's own registry; Apicurio's default is to check nothing.
                "apicurio.rules.global.compatibility": "BACKWARD",
            },
        )
        return [*_HEAP, f"-Dquarkus.config.locations={settings}", "-jar", str(home / "quarkus-run.jar")]

    def _serves(self, timeout: float) -> bool:
        try:
            # trust_env: a proxy does not reach 127.0.0.1.
            response = httpx.get(
                f"{self.url}/subjects", timeout=max(0.1, min(timeout, 5.0)), trust_env=False, verify=_NO_AUTHORITIES
            )
        except httpx.TransportError:
            return False
        # Another registry may have taken the port before this one could.
        return response.is_success and response.headers.get(_INSTANCE_HEADER) == self._instance
