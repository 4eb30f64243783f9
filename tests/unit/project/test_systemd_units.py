"""The systemd units of docs/operations.md: each line stands where systemd reads it.

A line in a section that does not know it is ignored with a warning, and the service starts all the same.
"""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
UNIT = re.compile(r"^`/etc/systemd/system/(\S+)`[^\n]*\n+<!--[^\n]*-->\n```ini\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Of systemd.unit(5), systemd.exec(5) and systemd.kill(5), and of systemd.service(5) and systemd.socket(5): those that
#: such units have. A line that is missing here is added after a look at the page.
OF_UNITS = {"Description", "Documentation", "Requires", "Wants", "After", "Before", "BindsTo", "PartOf", "OnFailure"}
OF_UNITS |= {"StartLimitIntervalSec", "StartLimitBurst"}
OF_PROCESSES = {"User", "Group", "DynamicUser", "WorkingDirectory", "Environment", "EnvironmentFile", "UMask"}
OF_PROCESSES |= {"StateDirectory", "RuntimeDirectory", "LimitNOFILE", "NoNewPrivileges", "ProtectSystem", "PrivateTmp"}
OF_PROCESSES |= {"KillMode", "KillSignal", "SendSIGKILL"}
OF_SERVICES = {"Type", "NotifyAccess", "ExecStartPre", "ExecStart", "ExecReload", "ExecStop", "Restart", "RestartSec"}
OF_SERVICES |= {"RestartPreventExitStatus", "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec", "Sockets"}
OF_SOCKETS = {"ListenStream", "Backlog", "Accept", "NoDelay", "KeepAlive", "FreeBind", "ReusePort", "Service"}
OF_SOCKETS |= {"FileDescriptorName", "TriggerLimitIntervalSec", "TriggerLimitBurst"}
KNOWN = {
    "Unit": OF_UNITS,
    "Service": OF_SERVICES | OF_PROCESSES,
    "Socket": OF_SOCKETS,
    "Install": {"WantedBy", "RequiredBy", "Also", "Alias"},
}


def units() -> dict[str, configparser.ConfigParser]:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    found = {name: parsed(text) for name, text in UNIT.findall(page)}
    assert len(found) == page.count("```ini")
    return found


def parsed(text: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, delimiters=["="], comment_prefixes=["#", ";"])
    # systemd tells capitals apart.
    unit.optionxform = str
    unit.read_string(text)
    return unit


def ignored(unit: configparser.ConfigParser) -> list[str]:
    """Return the lines that systemd ignores."""
    return [f"{name} in [{section}]" for section in unit.sections() for name in unit[section].keys() - KNOWN[section]]


def test_systemd_reads_each_line():
    assert {name: ignored(unit) for name, unit in units().items()} == {
        "openbsp-bridge.socket": [],
        "openbsp-bridge.service": [],
    }


def test_a_line_in_another_section_is_found():
    unit = parsed("[Unit]\nAfter=a\n[Service]\nStartLimitIntervalSec=0\nenvironment=A=b\n")
    assert sorted(ignored(unit)) == ["StartLimitIntervalSec in [Service]", "environment in [Service]"]


def test_systemd_never_gives_up():
    """By default five starts within ten seconds end a service for good, and with it the socket that starts it."""
    bridge, listener = (units()[f"openbsp-bridge.{kind}"] for kind in ("service", "socket"))
    assert bridge["Service"]["Restart"] == "always"
    assert bridge["Unit"]["StartLimitIntervalSec"] == "0"
    assert listener["Socket"]["TriggerLimitIntervalSec"] == "0"
    assert bridge["Unit"]["Requires"] == "openbsp-bridge.socket"
