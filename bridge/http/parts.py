"""The parts of a running ingress, which `bridge/service.py` makes, for those that answer requests and questions."""

import asyncio
from dataclasses import dataclass

from bridge.delivery.ages import Ages
from bridge.delivery.clock import ClockSkew
from bridge.delivery.drain import Drain
from bridge.delivery.keeper import Keeper
from bridge.delivery.preparation import Preparation
from bridge.delivery.spool.spool import Spool
from bridge.http.acceptor import Acceptor
from bridge.http.ingress import Ingress
from bridge.http.request_log import RequestLog
from bridge.metrics import Metrics
from bridge.settings import BridgeSettings
from bridge.suppressions.watch import SuppressionWatch
from openbsp.http.tokens.access import Access
from openbsp.kafka.connection import TopicSettings


@dataclass(slots=True)
class Observed:
    """The state of the disk at the last check."""

    oldest_s: float = 0.0
    quarantined: int = 0
    #: The time of that check, as time.monotonic().
    looked_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Service:
    """The running parts that answer requests and questions."""

    settings: BridgeSettings
    naming: TopicSettings
    metrics: Metrics
    access: Access
    spool: Spool
    suppressions: SuppressionWatch
    preparation: Preparation
    clock: ClockSkew
    ages: Ages
    keeper: Keeper
    drain: Drain
    ingress: Ingress
    acceptor: Acceptor
    requests: RequestLog
    observed: Observed
    #: Done when an endless background task failed; its exception says why.
    failed: asyncio.Future[None]
