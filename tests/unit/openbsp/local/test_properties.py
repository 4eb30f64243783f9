"""Java's .properties files: what is written is what Java reads."""

import stat
from pathlib import Path

from openbsp.local.properties import write_properties


def test_values_that_mean_something_to_java_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "test.properties"
    write_properties(path, {"a.b": "x=y:z #!", "pem": "one\ntwo", "umlaut": "ü😀", "path": r"C:\x", "blank": " x"})
    assert path.read_bytes().decode("ascii").splitlines() == [
        "a.b=x=y:z #!",
        r"pem=one\ntwo",
        r"umlaut=\u00fc\ud83d\ude00",
        r"path=C:\\x",
        r"blank=\ x",
    ]


def test_numbers_and_booleans_are_written_as_java_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "test.properties"
    write_properties(path, {"size": 10, "on": True, "off": False})
    assert path.read_text("ascii") == "size=10\non=true\noff=false\n"


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "test.properties"
    path.write_text("open to all")
    write_properties(path, {"password": "x"})
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
