"""What the page says of the last run of `bridge reconcile`."""

import json

from streams.views.http.completeness import summary

UNTIL = "2026-11-01T00:00:00+00:00"


def audit(every_seconds: int | None = None, ended_at: str = UNTIL, **counts: int) -> bytes:
    row = {"entity": "messages", "organization_id": "acme", "compared": 100, "verified_until": UNTIL}
    row |= dict.fromkeys(("missing", "different", "gone", "confirmed", "conflicts"), 0) | counts
    report = {"run": "r", "dry_run": False, "ended_at": ended_at, "every_seconds": every_seconds, "rows": [row]}
    return json.dumps({"report": report, "key": "k", "signature": "s"}).encode()


def test_what_is_left_is_what_was_found_and_not_confirmed_and_every_conflict():
    """As `bridge_reconcile_left` counts it: a conflict stays until somebody looks at it."""
    found = summary([audit(missing=3, different=2, gone=1, confirmed=4, conflicts=2)])
    assert found is not None
    assert (found.missing, found.different, found.left) == (3, 2, 4)


def test_more_confirmations_than_findings_hide_no_conflict():
    found = summary([audit(missing=1, confirmed=5, conflicts=1)])
    assert found is not None
    assert found.left == 1


def test_a_run_by_hand_does_not_hide_how_often_the_others_begin():
    found = summary([audit(every_seconds=86_400), audit()])
    assert found is not None
    assert found.every_seconds == 86_400
    for others in ([], [audit(every_seconds=300, ended_at="2026-10-31T22:00:00+00:00")]):
        found = summary([*others, audit()])
        assert found is not None
        assert found.every_seconds is None
