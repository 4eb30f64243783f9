"""An audit that is not acknowledged is not kept, and that is said."""

from pathlib import Path

import pytest

from bridge.reconcile import audit_topic, signing
from bridge.reconcile.errors import ReconcileError
from openbsp.kafka.connection import KafkaSettings, TopicSettings


def test_an_audit_that_no_broker_takes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit_topic, "_TIMEOUT_S", 0.5)
    signing.make_key(tmp_path / "key")
    audit = signing.sign({"run": "1"}, signing.load_key(tmp_path / "key"))
    with pytest.raises(ReconcileError, match=r"audits: the audit is not kept: .*timed out"):
        audit_topic.keep(audit, KafkaSettings(bootstrap_servers="127.0.0.1:9"), TopicSettings())
