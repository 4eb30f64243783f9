"""The source of Maven artifacts: Maven Central, or this machine's mirror."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from openbsp.local.errors import ArtifactError

REPOSITORY_VARIABLE = "OPENBSP_BRIDGE_MAVEN_REPOSITORY"
"""Environment variable with the URL of a Maven repository to use instead of all others."""


@dataclass(frozen=True)
class Repository:
    """Base URL (no slash at the end) and, when the mirror asks for them, user name and password."""

    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)


def repository() -> Repository:
    """Choose the repository: `REPOSITORY_VARIABLE`, else a mirror of Central in ~/.m2/settings.xml, else Central.

    ArtifactError when settings.xml cannot be read. Proxies, CA bundles and .netrc are left to the HTTP client.
    """
    if url := os.environ.get(REPOSITORY_VARIABLE):
        return Repository(url.rstrip("/"))
    settings = Path.home() / ".m2" / "settings.xml"
    if settings.is_file() and (mirror := _mirror_of_central(settings)):
        return mirror
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - slow to import, and of use only for a download

    return Repository(MAVEN_CENTRAL_URL)


def _mirror_of_central(settings: Path) -> Repository | None:
    try:
        root = ET.parse(settings).getroot()  # noqa: S314 - the user's own file
    except (OSError, ET.ParseError) as error:
        msg = f"{settings} cannot be read: {error}"
        raise ArtifactError(msg) from error
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        of = {pattern.strip() for pattern in _text(mirror, "mirrorOf").split(",")}
        if "!central" not in of and of & {"*", "central", "external:*"}:
            return Repository(_text(mirror, "url").rstrip("/"), _credentials(root, _text(mirror, "id")))
    return None


def _credentials(root: ET.Element, server_id: str) -> tuple[str, str] | None:
    for server in root.iterfind("{*}servers/{*}server"):
        if _text(server, "id") == server_id and _text(server, "username"):
            return _text(server, "username"), _text(server, "password")
    return None


def _text(element: ET.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}", default="").strip()
    return re.sub(r"\$\{env\.(\w+)\}", lambda match: os.environ.get(match[1], ""), text)
