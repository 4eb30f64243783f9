"""Where the kit takes the services from: what is set, else what goes with the kit itself."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from openbsp_testkit.errors import ServicesError
from openbsp_testkit.options import Options
from openbsp_testkit.services import Installed, Requirement, Wheel, find

NAME = "openbsp_stream_bridge-{}-py3-none-any.whl"


class Kit:
    """The kit's own distribution, as it was installed."""

    version = "1.2.3"

    def __init__(self, **origin: object) -> None:
        self._origin = json.dumps(origin) if origin else None

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._origin


def wheel(directory: Path, version: str) -> Path:
    path = directory / NAME.format(version)
    path.write_bytes(version.encode())
    return path


def named(text: object) -> object:
    return find(Options(services=str(text)))


def test_from_an_index_it_is_the_same_version():
    assert find(Options(), Kit()) == Requirement("openbsp-stream-bridge==1.2.3")


def test_from_a_file_it_is_the_wheel_beside_it(tmp_path):
    beside = wheel(tmp_path, "1.2.3")
    wheel(tmp_path, "1.2.4")
    kit = Kit(url=(tmp_path / "openbsp_testkit-1.2.3-py3-none-any.whl").as_uri(), archive_info={})
    assert find(Options(), kit) == Wheel(beside)
    beside.unlink()
    assert find(Options(), kit) == Requirement("openbsp-stream-bridge==1.2.3")


def test_from_a_repository_it_is_the_same_commit():
    kit = Kit(
        url="https://example.org/team/openbsp", vcs_info={"vcs": "git", "commit_id": "abc"}, subdirectory="testkit"
    )
    assert find(Options(), kit) == Requirement("git+https://example.org/team/openbsp@abc")


def test_in_a_checkout_it_is_the_environment_of_the_developers():
    kit = Kit(url="file:///checkout/testkit", dir_info={"editable": True})
    assert find(Options(), kit) == Installed(Path(sys.executable))


def test_a_setting_counts_before_all_that(tmp_path):
    older, newer = wheel(tmp_path, "1.2.2"), wheel(tmp_path, "1.2.4")
    assert named(older) == Wheel(older)
    assert named(newer.parent) in {Wheel(older), Wheel(newer)}
    assert named(sys.prefix) == Installed(Path(sys.prefix) / "bin" / "python")
    for text in (
        "openbsp-stream-bridge",
        "openbsp-stream-bridge==1.2.4",
        "openbsp-stream-bridge @ git+https://x/y",
        "git+https://x/y@1",
    ):
        assert named(text) == Requirement(text)


@pytest.mark.parametrize("text", ["/nowhere/at/all", "./missing.whl"])
def test_a_setting_that_leads_nowhere_is_an_error(text, tmp_path):
    with pytest.raises(ServicesError, match="no such file"):
        named(text)
    with pytest.raises(ServicesError, match="neither"):
        named(tmp_path)


def test_a_wheel_is_what_the_sums_beside_it_say(tmp_path):
    path = wheel(tmp_path, "1.2.3")
    digest = hashlib.sha256(b"1.2.3").hexdigest()
    assert Wheel(path).identity == digest
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  {path.name}\n", "utf-8")
    assert Wheel(path).identity == digest
    path.write_bytes(b"another")
    with pytest.raises(ServicesError, match="SHA256SUMS says"):
        _ = Wheel(path).identity
