"""The bill of materials of an image, made of what was found in it.

tests/containers/test_image.py looks into a real one.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from packageurl import PackageURL

ROOT = Path(__file__).parents[3]
REQUIREMENTS = (ROOT / "requirements.txt").read_text("utf-8")


def _loaded() -> Any:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "deploy" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sbom = _loaded()
DPKG = """\
ii  libc6 2.36-9+deb12u10 amd64 glibc 2.36-9+deb12u10
ii  bash 5.2.15-2+b8 amd64 bash 5.2.15-2
ii  passwd 1:4.13+dfsg1-1 amd64 shadow 1:4.13+dfsg1-1
ii  tzdata 2025b-0 all tzdata 2025b-0
rc  gone 1.0 amd64 gone 1.0
"""


def made(*distributions: tuple[str, str], prefix: str = "/usr/local") -> dict[str, Any]:
    release = {"ID": "debian", "VERSION_ID": "12"}
    found = sbom.Content("sha256:0", release, DPKG, ("3.11.9", prefix), list(distributions))
    bill: dict[str, Any] = sbom.bill("0.1.0", found, sbom.hashes(REQUIREMENTS))
    return bill


def parts(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in bill["components"]}


def test_it_is_of_the_image_and_the_same_whatever_the_order():
    bill = made(("httpx", "0.1"), ("anyio", "1"))
    assert sbom.fault_of(json.dumps(bill)) is None
    assert bill == made(("anyio", "1"), ("httpx", "0.1"))
    assert bill["metadata"]["component"]["properties"] == [{"name": "openbsp:image:id", "value": "sha256:0"}]


def test_it_has_the_packages_of_the_operating_system_that_are_installed_by_their_sources():
    found = parts(made())
    assert set(found) == {"debian", "python", "libc6", "bash", "passwd", "tzdata"}
    urls = {name: PackageURL.from_string(part["purl"]) for name, part in found.items() if name != "debian"}
    assert (urls["passwd"].type, urls["passwd"].namespace) == ("deb", "debian")
    assert urls["passwd"].version == found["passwd"]["version"] == "1:4.13+dfsg1-1"
    assert urls["passwd"].qualifiers == {"arch": "amd64", "distro": "debian-12", "upstream": "shadow"}
    assert urls["bash"].qualifiers["upstream"] == "bash@5.2.15-2"
    assert urls["tzdata"].qualifiers == {"arch": "all", "distro": "debian-12"}
    assert found["debian"]["type"] == "operating-system"


def test_python_is_in_it_once_built_of_its_sources_or_as_a_package():
    assert parts(made())["python"]["cpe"] == "cpe:2.3:a:python:python:3.11.9:*:*:*:*:*:*:*"
    assert "python" not in parts(made(prefix="/usr"))


def test_a_pinned_package_has_the_hashes_of_its_files_and_any_other_has_none():
    pinned = sbom.hashes(REQUIREMENTS)
    assert len(pinned) > 50
    assert sum(map(len, pinned.values())) == REQUIREMENTS.count("--hash=sha256:")
    (version,) = [version for name, version in pinned if name == "typing-extensions"]
    found = parts(made(("Typing_Extensions", version), ("openbsp-stream-bridge", "0.1.0")))
    (reference,) = found["typing-extensions"]["externalReferences"]
    assert [each["content"] for each in reference["hashes"]] == pinned["typing-extensions", version]
    assert len(reference["hashes"]) == 2
    assert "externalReferences" not in found["openbsp-stream-bridge"]


def test_what_is_no_bill_of_materials_is_found():
    assert sbom.fault_of(json.dumps({**made(), "components": [{"type": "thing", "name": "x"}]})) is not None
