"""What is measured: a bridge and one worker with a full table, and beside them an endpoint that does nothing."""

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from join.cluster import Cluster
from support.say import say

from openbsp.local.ports import free_ports
from support import parts
from support.parts import TOKEN
from views_bench.tables import Conversations

#: What a worker's metrics call the topic that the join writes for itself: its last step.
CONTRIBUTIONS = "streams-contributions"

_PATIENCE_S = 200
#: Of those who ask while streams are open.
_OTHER_CONNECTIONS = 500


@dataclass(frozen=True)
class Stage:
    """Where everything is."""

    cluster: Cluster
    bridge_url: str
    views_port: int
    reference_port: int
    worker: psutil.Process

    def applied(self, source: str) -> int:
        """Return how many records of a source are in the worker's tables."""
        # A full client takes longer to make than the answer takes to come.
        connection = http.client.HTTPConnection("127.0.0.1", self.views_port, timeout=30)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(rf'^streams_records_applied_total{{source="{source}"}} (\S+)', text, re.MULTILINE)
        return 0 if found is None else int(float(found[1]))

    def wait_applied(self, source: str, total: int) -> None:
        """Return when so many are."""
        deadline = time.monotonic() + _PATIENCE_S
        while self.applied(source) < total:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.applied(source)} of {total} {source} were applied in {_PATIENCE_S} s")
            time.sleep(0.1)


@contextmanager
def open_stage(cluster: Cluster, conversations: Conversations, directory: Path, streams: int) -> Iterator[Stage]:
    """Fill the topics, start everything, and yield when the worker has joined all of it; it takes so many streams."""
    cluster.reset()
    say(f"writing {len(conversations.ids)} conversations")
    cluster.fill(conversations.events())
    bridge = parts.bridge(cluster.environment, directory)
    worker = parts.worker(
        cluster.environment,
        directory,
        STREAMS_EVENT_STREAMS=str(streams),
        STREAMS_CONNECTIONS=str(streams + _OTHER_CONNECTIONS),
    )
    (reference_port,) = free_ports(1)
    with ExitStack() as stack:
        reference = subprocess.Popen(parts.reference(reference_port))
        stack.callback(reference.wait, 30)
        stack.callback(reference.terminate)
        for part in (worker, bridge):
            stack.callback(part.stop)
            part.launch()
        bridge.wait_ready()
        worker.wait_ready(timeout=_PATIENCE_S)
        stage = Stage(
            cluster, bridge.url, int(worker.url.rpartition(":")[2]), reference_port, psutil.Process(worker.pid)
        )
        say("the worker joins them")
        # Of each conversation: its two messages, that it follows an address, and what that one answers.
        stage.wait_applied(CONTRIBUTIONS, 4 * len(conversations.ids))
        yield stage
