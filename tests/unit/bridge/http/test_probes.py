"""What is asked of the bridge besides webhooks: health, readiness, metrics, its description."""

from collections.abc import Iterator

import pytest

from avro.catalogue import TOPICS
from bridge import metrics
from bridge.http import openapi
from bridge.http.refusals import REASONS
from support.ingress import METRICS_TOKEN, TOKEN, RunningIngress, message, running_ingress


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path_factory.mktemp("probes")) as running:
        yield running


def test_it_is_alive_for_everyone(ingress: RunningIngress):
    assert ingress.get("/healthz").json() == {"status": "alive"}


def test_it_is_ready_for_everyone_but_says_why_only_to_a_token(ingress: RunningIngress):
    assert ingress.get("/readyz").json() == {"status": "ready"}
    assert ingress.get("/readyz", token="wrong-token-0123456789").json() == {"status": "ready"}
    for token in (TOKEN, METRICS_TOKEN):
        assert ingress.get("/readyz", token=token).json()["spool"]["events"] == 0


def test_those_without_a_token_have_the_disk_looked_at_once_a_second_at_most(
    ingress: RunningIngress, monkeypatch: pytest.MonkeyPatch
):
    """An operator sees the disk as it is now."""
    spool = ingress.service.spool
    look, looks = spool.status, []

    async def count() -> tuple[int | None, int]:
        looks.append(1)
        return await look()

    monkeypatch.setattr(spool, "status", count)
    for _ in range(200):
        assert ingress.get("/readyz").status_code == 200
    assert len(looks) < 100
    before = len(looks)
    for _ in range(20):
        ingress.get("/readyz", token=TOKEN)
    assert len(looks) >= before + 20


def test_metrics_are_for_tokens_only(ingress: RunningIngress):
    for token in (None, "wrong-token-0123456789"):
        answer = ingress.get("/metrics", token=token)
        assert answer.status_code == 401
        assert answer.json()["reason"] == "unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for token in (TOKEN, METRICS_TOKEN):
        assert ingress.get("/metrics", token=token).status_code == 200


def test_the_token_for_metrics_may_not_send(ingress: RunningIngress):
    assert ingress.post(message(), token=METRICS_TOKEN).status_code == 401


def test_every_metric_that_is_served_is_declared_and_described(ingress: RunningIngress):
    ingress.post(message())
    declared = {description.name.removesuffix("_total"): description for description in metrics.describe()}
    assert all(description.meaning.endswith(".") for description in declared.values())
    families = {
        line.split()[2].removesuffix("_total")
        for line in ingress.get("/metrics", token=METRICS_TOKEN).text.splitlines()
        if line.startswith("# TYPE bridge_")
    }
    assert {family.removesuffix("_created") for family in families} == set(declared)


def test_the_topics_are_described_under_the_names_that_they_have(ingress: RunningIngress):
    document = ingress.get("/asyncapi.json").json()
    assert document["asyncapi"].startswith("3.")
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {f"test.{topic.name}" for topic in TOPICS.values() if not topic.internal}


def test_the_description_names_every_reason_and_is_served(ingress: RunningIngress):
    document = ingress.get("/openapi.json").json()
    assert document == openapi.document()
    responses = document["paths"]["/webhooks"]["post"]["responses"]
    for reason in REASONS.values():
        assert f"`{reason.code}`" in responses[str(reason.status)]["description"]
    assert document["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"] == sorted(REASONS)
