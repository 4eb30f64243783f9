"""The alert rules, evaluated by Prometheus' own promtool: each fires for its case, alone, and stays quiet otherwise.

tests/unit/project/test_alerts.py has what needs no promtool: metrics, labels and the runbook.
"""

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from support import prometheus

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

RULES = sorted((Path(__file__).parents[2] / "deploy" / "prometheus" / "rules").glob("*.yml"))
ALERTS = [
    rule["alert"]
    for file in RULES
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]

#: One value a minute, as promtool's notation has it.
MINUTES = 240
#: The minute in which something happens.
AT = 120


def steady(value: float) -> str:
    return f"{value}x{MINUTES}"


def then(before: float | str, after: float) -> str:
    """From `AT` on it is another value; `_` before is a series that is not there yet."""
    # Trap: promtool repeats a number after its first time, and counts what is absent.
    return f"{before}x{AT if before == '_' else AT - 1} {after}x{MINUTES - AT}"


def growing(step: float) -> str:
    """From `AT` on it grows with each minute."""
    return f"0x{AT - 1} {step}+{step}x{MINUTES - AT}"


#: Long ago, and over; one scrape has failed since, after which Prometheus ends a series.
OVER = f"0x5 3x123 stale 3x{MINUTES - 131}"


def spool(bridge: str, events: str, quarantined: str = steady(0)) -> dict[str, str]:
    """Return what the bridge with these labels has that waits for Kafka."""
    return {
        f"bridge_spool_events{{{bridge}}}": events,
        f"bridge_spool_quarantined{{{bridge}}}": quarantined,
        f"bridge_spools_not_adopted{{{bridge}}}": steady(0),
    }


def pod(name: str, address: str) -> str:
    """Return the labels of a pod, whose address is another one each time that it starts."""
    return f'namespace="production",job="bridge-pods",pod="{name}",instance="{address}"'


#: What a bridge, two of its entities, a reconcile and two workers show while all is well.
HEALTHY = {
    "bridge_tokens": steady(1),
    "bridge_worker_restarts": steady(1),
    'bridge_misdirected_total{method="other"}': growing(1),
    'bridge_accept_pauses_total{limit="connections"}': f"0+1x{MINUTES}",
    'bridge_webhooks_total{entity="messages",action="insert",outcome="published"}': f"0+60x{MINUTES}",
    'bridge_webhooks_total{entity="messages",action="insert",outcome="spooled"}': then("_", 5),
    'bridge_webhooks_total{entity="messages",action="update",outcome="not_stored"}': OVER,
    'bridge_dead_letters_total{reason="no_key"}': OVER,
    # `bridge connect --check`, and senders whose connection ended.
    'bridge_webhooks_total{outcome="unsupported_media_type"}': then("_", 4),
    'bridge_webhooks_total{outcome="client_gone"}': then(1, 3),
    'bridge_unauthorized_total{endpoint="/metrics",caller="token"}': growing(1),
    # A scanner, which has no token.
    'bridge_unauthorized_total{endpoint="/webhooks",caller="stranger"}': f"_x{AT - 30} 9x{MINUTES}",
    'bridge_answer_seconds_bucket{le="0.1"}': f"0+60x{MINUTES}",
    'bridge_answer_seconds_bucket{le="3"}': f"0+60x{MINUTES}",
    'bridge_answer_seconds_bucket{le="+Inf"}': f"0+60x{MINUTES}",
    "bridge_clients_given_up_total": f"0+1x{MINUTES}",
    "bridge_token_reload_failures_total": steady(0),
    "bridge_log_lines_dropped_total": steady(0),
    'bridge_reconcile_missing{entity="messages",organization="o"}': steady(0),
    'bridge_reconcile_left{entity="messages",organization="o",kind="conflict"}': steady(0),
    "bridge_reconcile_problems": steady(0),
    "bridge_reconcile_interval_seconds": steady(300),
    "bridge_completeness_verified_until_seconds": f"0+60x{MINUTES}",
    'bridge_reconcile_runs_total{outcome="failed"}': then("_", 1),
    "bridge_kafka_verified": steady(1),
    "bridge_topics_replaced_total": steady(0),
    "bridge_topic_remarks": steady(0),
    # A broker that has just started says for a moment that there is no such topic.
    "bridge_suppressions_lost": f"0x{AT - 1} 3 0x{MINUTES - AT}",
    "bridge_suppressions_void": steady(0),
    "bridge_schema_ids_known": steady(1),
    # The registry is restarted.
    "bridge_registry_answered": f"1x{AT - 1} 0x2 1x{MINUTES - AT}",
    "bridge_spool_recovered_files_total": steady(0),
    "bridge_spool_failures_total": steady(0),
    # Clocks differ a little, and now and then by more.
    "bridge_clock_skew_seconds": f"-2x{AT - 1} 40x1 2x{MINUTES - AT}",
    # An outage of Kafka that lasts three minutes.
    "bridge_spool_events": f"0x{AT - 1} 500x3 0x{MINUTES - AT}",
    "bridge_spool_oldest_seconds": f"0x{AT - 1} 60+60x3 0x{MINUTES - AT}",
    "bridge_spool_bytes": f"0x{AT - 1} 1000000x3 0x{MINUTES - AT}",
    "bridge_spool_max_bytes": steady(1024 * 1024 * 1024),
    "bridge_spool_quarantined": steady(0),
    "bridge_spool_damaged_files_total": steady(0),
    # A former bridge left one behind, whose disk was full for a moment.
    "bridge_spools_not_adopted": f"0x{AT - 1} 1x2 0x{MINUTES - AT}",
    "streams_tokens": steady(1),
    # One restart, as for an upgrade.
    "streams_started_timestamp_seconds": then(1_700_000_000, 1_700_007_200),
    "streams_disk_free_share": steady(0.4),
    "streams_partitions_stalled": steady(0),
    # A takeover of five minutes.
    'streams_partitions_ready{instance="a"}': f"6x{AT - 1} 4x4 6x{MINUTES - AT}",
    'streams_partitions_owned{instance="a"}': steady(6),
    # A burst that is joined within some minutes.
    'streams_lag_records{source="messages",partition="0"}': f"0x{AT - 1} 20000x4 0x{MINUTES - AT}",
    "streams_token_reload_failures_total": steady(0),
    'streams_records_lost_total{source="messages"}': steady(0),
    'streams_positions_refused_total{source="messages"}': steady(0),
    'streams_changelogs_repaired_total{table="streams-messages-changelog"}': OVER,
    "streams_partitions_changed": steady(0),
    "streams_schema_ids_known": steady(1),
}


class Case(NamedTuple):
    """What is not as in HEALTHY, and how many minutes after it began the alert has to be there."""

    series: dict[str, str]
    within: int = 10


def first(series: str) -> Case:
    """Return a case in which a counter begins at 1: with labels, at the first of its kind; else with its process."""
    return Case({series: then("_", 1)}, within=2)


def back(series: str, minutes: int) -> Case:
    """Return a case in which a process that had counted nothing comes back after so many minutes, and has."""
    return Case({series: f"0x{AT - 1 - minutes} stale _x{minutes - 1} 1x{MINUTES - AT}"}, within=2)


def webhook(outcome: str) -> str:
    return f'bridge_webhooks_total{{entity="messages",action="insert",outcome="{outcome}"}}'


CASES: dict[str, list[Case]] = {
    "BridgeWorkerRestarts": [
        Case({"bridge_worker_restarts": f"1x{AT - 1} 2+1x4 6x{MINUTES - AT - 5}"}),
        Case({"bridge_worker_restarts": then("_", 3)}, within=2),
    ],
    "BridgeMisdirected": [
        first('bridge_misdirected_total{method="POST"}'),
        Case({'bridge_misdirected_total{method="POST"}': then(4, 5)}, within=2),
    ],
    "BridgeLimitReached": [
        Case({'bridge_accept_pauses_total{limit="memory"}': growing(60)}),
        Case({'bridge_accept_pauses_total{limit="memory"}': then("_", 200)}, within=2),
    ],
    "BridgeOverloaded": [first(webhook("overloaded"))],
    "BridgeAbsent": [
        Case({"bridge_tokens": f"1x{AT - 1} _x{MINUTES - AT}"}),
        # Another one answers, of another environment.
        Case({'bridge_tokens{namespace="production",job="bridge-pods"}': f"1x{AT - 1} stale"}, within=3),
    ],
    "BridgeNotStored": [
        first(webhook("not_stored")),
        Case({webhook("not_stored"): then(2, 3)}, within=2),
        # A process that started again counts from the beginning.
        Case({webhook("not_stored"): then(2, 1)}, within=2),
    ],
    "BridgeUnauthorized": [
        first('bridge_unauthorized_total{endpoint="/webhooks",caller="token"}'),
        first('bridge_unauthorized_total{endpoint="/webhooks",caller="pg_net"}'),
        # It goes on, so it is no scanner: a sender whose token and name a proxy takes away.
        Case({'bridge_unauthorized_total{endpoint="/webhooks",caller="stranger"}': growing(2)}, within=40),
        Case({'bridge_unauthorized_total{endpoint="/webhooks",caller="stranger"}': then("_", 80)}, within=2),
    ],
    "BridgeWebhooksNotRead": [
        Case({'bridge_webhooks_total{outcome="unsupported_media_type"}': then("_", 25)}, within=2),
        # One in a while, at each of two bridges.
        Case(
            {
                'bridge_webhooks_total{outcome="body_timeout",instance="a"}': growing(0.25),
                'bridge_webhooks_total{outcome="body_timeout",instance="b"}': growing(0.25),
            },
            within=50,
        ),
        Case({'bridge_webhooks_total{outcome="client_gone"}': growing(1)}, within=30),
    ],
    "BridgeFaults": [first(webhook("internal_error"))],
    "BridgeSlow": [
        Case(
            {
                'bridge_answer_seconds_bucket{le="0.1"}': f"0+60x{AT} {60 * AT}x{MINUTES - AT}",
                'bridge_answer_seconds_bucket{le="3"}': f"0+60x{AT} {60 * AT}x{MINUTES - AT}",
                'bridge_answer_seconds_bucket{le="5"}': f"0+60x{MINUTES}",
            }
        ),
        # One that takes few webhooks, beside another that takes many.
        Case(
            {
                'bridge_answer_seconds_bucket{job="few",le="3"}': steady(0),
                'bridge_answer_seconds_bucket{job="few",le="5"}': growing(0.3),
                'bridge_answer_seconds_bucket{job="few",le="+Inf"}': growing(0.3),
            }
        ),
    ],
    "BridgeClientsGivenUp": [
        Case({"bridge_clients_given_up_total": growing(10)}),
        Case({"bridge_clients_given_up_total": then("_", 40)}, within=2),
    ],
    "BridgeTokensNotReloaded": [
        first("bridge_token_reload_failures_total"),
        Case({"bridge_token_reload_failures_total": then(0, 1)}, within=2),
    ],
    "BridgeLogLinesDropped": [
        first("bridge_log_lines_dropped_total"),
        Case({"bridge_log_lines_dropped_total": then(0, 40)}, within=2),
    ],
    "ReconcileFoundMissing": [
        Case({'bridge_reconcile_missing{entity="messages",organization="o"}': then(0, 2)}, within=1)
    ],
    "ReconcileLeft": [
        Case({'bridge_reconcile_left{entity="messages",organization="o",kind="conflict"}': then(0, 1)}, within=40)
    ],
    "ReconcileProblems": [Case({"bridge_reconcile_problems": then(0, 1)}, within=20)],
    "CompletenessStandsStill": [
        Case({"bridge_completeness_verified_until_seconds": f"0+60x{AT} {60 * AT}x{MINUTES - AT}"}, within=75),
        # One of two environments.
        Case(
            {
                'bridge_reconcile_interval_seconds{job="other"}': steady(300),
                'bridge_completeness_verified_until_seconds{job="other"}': f"0+60x{AT} {60 * AT}x{MINUTES - AT}",
            },
            within=75,
        ),
        # It has ended, and with it its series.
        Case(
            {
                "bridge_reconcile_interval_seconds": f"300x{AT - 1} _x{MINUTES - AT}",
                "bridge_completeness_verified_until_seconds": f"0+60x{AT - 1} _x{MINUTES - AT}",
            },
            within=75,
        ),
        # The same of one that runs once a week: that it is not there is known sooner than what it did not do.
        Case(
            {
                "bridge_reconcile_interval_seconds": f"604800x{AT - 1} _x{MINUTES - AT}",
                "bridge_completeness_verified_until_seconds": f"-90000x{AT - 1} _x{MINUTES - AT}",
            },
            within=75,
        ),
        # It runs once a day, and the last run is a day and an hour ago.
        Case(
            {
                "bridge_reconcile_interval_seconds": steady(86_400),
                "bridge_completeness_verified_until_seconds": steady(60 * AT - 86_400 - 3600),
            },
            within=10,
        ),
        # It was started again, and each of its runs fails.
        Case(
            {
                'bridge_completeness_verified_until_seconds{instance="a"}': f"0+60x{AT - 1} _x{MINUTES - AT}",
                "bridge_completeness_verified_until_seconds": f"_x{MINUTES}",
                'bridge_reconcile_runs_total{outcome="failed",instance="b"}': then("_", 1),
            },
            within=75,
        ),
        # It has never finished a run.
        Case(
            {
                "bridge_completeness_verified_until_seconds": f"_x{MINUTES}",
                'bridge_reconcile_runs_total{outcome="failed"}': then("_", 1),
            },
            within=70,
        ),
    ],
    "BridgeTopicsWrong": [Case({"bridge_kafka_verified": then(1, 0)}, within=3)],
    "BridgeTopicReplaced": [
        first("bridge_topics_replaced_total"),
        back("bridge_topics_replaced_total", 10),
        back("bridge_topics_replaced_total", 20),
        back("bridge_topics_replaced_total", 90),
        Case({"bridge_topics_replaced_total": then(0, 1)}, within=2),
    ],
    "BridgeTopicRemarks": [Case({"bridge_topic_remarks": then(0, 1)}, within=12)],
    "BridgeSuppressionsLost": [Case({"bridge_suppressions_lost": then(0, 3)}, within=3)],
    "BridgeSuppressionsVoid": [Case({"bridge_suppressions_void": then(0, 3)}, within=3)],
    "BridgeSchemaIdsUnknown": [Case({"bridge_schema_ids_known": then(1, 0)}, within=3)],
    "BridgeRegistryUnreachable": [Case({"bridge_registry_answered": then(1, 0)}, within=7)],
    "BridgeDeadLetters": [
        first('bridge_dead_letters_total{reason="invalid_event"}'),
        Case({'bridge_dead_letters_total{reason="invalid_event"}': then(7, 8)}, within=2),
    ],
    "StreamsDeadLetters": [
        first('streams_dead_letters_total{reason="too_large"}'),
        # The partition moved: another worker counts it, and the first one's series stays.
        Case(
            {
                'streams_dead_letters_total{reason="too_large",instance="a"}': f"0x5 1x{MINUTES - 6}",
                'streams_dead_letters_total{reason="too_large",instance="b"}': then("_", 1),
            },
            within=2,
        ),
    ],
    "BridgeSpoolRecovered": [
        first("bridge_spool_recovered_files_total"),
        Case({"bridge_spool_recovered_files_total": then(0, 1)}, within=2),
    ],
    "BridgeSpoolFailing": [
        first("bridge_spool_failures_total"),
        Case({"bridge_spool_failures_total": growing(1)}, within=2),
    ],
    "BridgeClockSkewed": [Case({"bridge_clock_skew_seconds": then(0, -7200)})],
    "BridgeSpoolOld": [
        Case({"bridge_spool_oldest_seconds": f"0x{AT - 1} 0+60x{MINUTES - AT}"}),
    ],
    "BridgeGoneWithEvents": [
        Case(spool('instance="a:8080"', f"0x{AT - 1} 7 stale")),
        # A day is long.
        Case(spool('instance="a:8080"', f"0x{AT - 1} 7 stale"), within=MINUTES - AT),
        # What Kafka refuses for good is in the spool too.
        Case(spool('instance="a:8080"', f"0x{AT} stale", f"0x{AT - 1} 1 stale")),
        Case(spool(pod("bridge-1", "10.0.0.1"), f"0x{AT - 1} 7 stale")),
        # It comes up elsewhere, and is gone before it has published all.
        Case(
            {
                **spool(pod("bridge-1", "10.0.0.1"), f"0x{AT - 1} 7 stale"),
                **spool(pod("bridge-1", "10.0.0.2"), f"_x{AT + 3} 5x2 stale"),
            },
            within=15,
        ),
    ],
    "BridgeSpoolLarge": [
        Case({"bridge_spool_bytes": then(0, 800 * 1024 * 1024)}, within=1),
        Case({"bridge_spool_bytes": then(0, 800_000), "bridge_spool_max_bytes": steady(1024 * 1024)}, within=1),
    ],
    "BridgeSpoolQuarantined": [Case({"bridge_spool_quarantined": then(0, 1)}, within=1)],
    "BridgeSpoolDamaged": [
        first("bridge_spool_damaged_files_total"),
        back("bridge_spool_damaged_files_total", 10),
        back("bridge_spool_damaged_files_total", 90),
        Case({"bridge_spool_damaged_files_total": then(0, 1)}, within=2),
    ],
    "BridgeSpoolNotAdopted": [Case({"bridge_spools_not_adopted": then(0, 1)}, within=7)],
    "StreamsAbsent": [
        Case({"streams_tokens": f"1x{AT - 1} _x{MINUTES - AT}"}),
        Case({'streams_tokens{namespace="production",job="streams-pods"}': f"1x{AT - 1} stale"}, within=4),
    ],
    "StreamsWorkerRestarts": [
        Case({"streams_started_timestamp_seconds": f"1x{AT - 1} 7200+300x3 8100x{MINUTES - AT - 4}"})
    ],
    "StreamsDiskFull": [
        Case({"streams_disk_free_share": then(0.4, 0.03)}, within=1),
        # One scrape between two ends of a worker whose disk is read-only.
        Case({"streams_disk_free_share": f"0.4x{AT - 1} 0x1 stale 0.4x{MINUTES - AT - 3}"}, within=2),
    ],
    "StreamsStalled": [Case({"streams_partitions_stalled": then(0, 1)}, within=4)],
    "StreamsNotReady": [Case({'streams_partitions_ready{instance="a"}': then(6, 5)}, within=12)],
    "StreamsLag": [Case({'streams_lag_records{source="messages",partition="0"}': then(0, 20_000)}, within=12)],
    "StreamsTokensNotReloaded": [
        first("streams_token_reload_failures_total"),
        Case({"streams_token_reload_failures_total": then(0, 1)}, within=2),
    ],
    "StreamsRecordsLost": [
        first('streams_records_lost_total{source="conversations"}'),
        Case({'streams_records_lost_total{source="messages"}': then(0, 40)}, within=2),
    ],
    "StreamsPositionsRefused": [
        first('streams_positions_refused_total{source="conversations"}'),
        Case({'streams_positions_refused_total{source="messages"}': then(0, 1)}, within=2),
    ],
    "StreamsChangelogRepaired": [
        first('streams_changelogs_repaired_total{table="streams-conversations-changelog"}'),
        Case({'streams_changelogs_repaired_total{table="streams-messages-changelog"}': then(2, 8)}, within=2),
    ],
    "StreamsPartitionsChanged": [Case({"streams_partitions_changed": then(0, 12)}, within=3)],
    "StreamsSchemaIdsUnknown": [Case({"streams_schema_ids_known": then(1, 0)}, within=3)],
    "StreamsStoreSetAside": [first('streams_stores_set_aside_total{table="messages"}')],
    "StreamsEventSetAside": [first('streams_events_set_aside_total{source="messages"}')],
}

#: What may look like a case, and is none.
QUIET: dict[str, dict[str, str]] = {
    "a reconcile that runs once a day": {
        "bridge_reconcile_interval_seconds": steady(86_400),
        "bridge_completeness_verified_until_seconds": steady(60 * MINUTES - 86_400 - 3600),
    },
    "a reconcile that is started again": {
        'bridge_reconcile_interval_seconds{instance="a"}': f"300x{AT - 1} stale",
        "bridge_reconcile_interval_seconds": f"_x{AT + 30} 300x{MINUTES}",
        'bridge_completeness_verified_until_seconds{instance="a"}': f"0+60x{AT - 1} stale",
        "bridge_completeness_verified_until_seconds": f"_x{AT + 30} {60 * AT + 1800}+60x{MINUTES}",
    },
    "bridges that are replaced one after the other, and one that is taken away": {
        **spool(pod("bridge-0", "10.0.0.1"), f"0x{AT - 1} stale"),
        **spool(pod("bridge-0", "10.0.0.2"), f"_x{AT + 2} 0x{MINUTES}"),
        **spool(pod("bridge-1", "10.0.0.3"), f"0x{AT + 9} stale"),
    },
    "a bridge that is replaced while its spool has events": {
        **spool(pod("bridge-1", "10.0.0.1"), f"0x{AT - 1} 7 stale"),
        **spool(pod("bridge-1", "10.0.0.2"), f"_x{AT + 4} 7x1 0x{MINUTES}"),
    },
    "a machine that is started again while its spool has events": spool(
        'instance="a:8080"', f"0x{AT - 1} 7 stale _x2 7x1 0x{MINUTES}"
    ),
}


def firing(minute: int, alerts: list[str]) -> dict[str, Any]:
    """Return that at this minute these alerts fire and no others do."""
    return {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)],
    }


def described(name: str, series: dict[str, str], expected: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one of promtool's tests."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in {**HEALTHY, **series}.items()],
        "promql_expr_test": expected,
    }


@pytest.fixture(scope="module")
def promtool() -> Path:
    return prometheus.promtool()


def run(promtool: Path, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_alert_has_a_case():
    assert sorted(CASES) == sorted(ALERTS)


def test_prometheus_takes_the_rules(promtool):
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULES)


def test_each_alert_fires_for_its_case_and_nothing_else_does(promtool, tmp_path):
    quiet = [firing(minute, []) for minute in range(70, MINUTES)]
    tests = [described(name, series, quiet) for name, series in {"healthy": {}, **QUIET}.items()]
    for alert, cases in CASES.items():
        tests += [
            described(
                f"{alert} {number}",
                case.series,
                [firing(AT - 1, []), firing(AT + case.within, [alert])],
            )
            for number, case in enumerate(cases)
        ]
    file = tmp_path / "cases.yml"
    content = {"rule_files": [str(path) for path in RULES], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    run(promtool, "test", "rules", file)
    print(f"figure: {len(ALERTS)} alerts in {len(tests)} cases, each alone")


def test_a_rule_that_does_not_fire_is_found(promtool, tmp_path):
    """A check of the check: with a case that is none, promtool fails."""
    file = tmp_path / "cases.yml"
    wrong = described("wrong", {}, [firing(AT, ["BridgeAbsent"])])
    content = {"rule_files": [str(path) for path in RULES], "evaluation_interval": "1m", "tests": [wrong]}
    file.write_text(yaml.safe_dump(content), "utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode != 0
