"""What a worker is to its partitions, as one table of states.

| state      | event                   | next       | what is done                                            |
|------------|-------------------------|------------|---------------------------------------------------------|
| revoked    | partitions are assigned | restoring  | stores are opened, changelogs read into them            |
| restoring  | all changelogs are read | confirming | the positions that were found are committed             |
| restoring  | nothing was assigned    | running    | nothing is read until the next rebalance                |
| confirming | the commit is confirmed | running    | the sources are read, agents get batches                |
| restoring  | partitions are revoked  | revoked    | what is restored stays in the stores                    |
| confirming | partitions are revoked  | revoked    | nothing was written, so nothing is left to do           |
| running    | partitions are revoked  | giving up  | reading stops, the batch in work ends at its next slice |
| running    | late ones are read      | giving up  | as above, and then all are taken over                   |
| giving up  | all is committed        | revoked    | everything was written and acknowledged before          |

An error in any state ends the process at once; so does giving up that takes longer than the lease. Only a worker whose
tables were made with another number of partitions (PartitionsChangedError) stays, in restoring, until its partitions
are revoked: it joins nothing. Nothing is written but in running and giving up, and only a confirmed commit leads to
running: an owner that the group does not know any more never writes.
"""

from enum import Enum


class State(Enum):
    """A worker's relation to its partitions."""

    REVOKED = "revoked"
    RESTORING = "restoring"
    CONFIRMING = "confirming"
    RUNNING = "running"
    GIVING_UP = "giving up"


#: The table above: the allowed transitions.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.REVOKED: frozenset({State.RESTORING}),
    State.RESTORING: frozenset({State.CONFIRMING, State.RUNNING, State.REVOKED}),
    State.CONFIRMING: frozenset({State.RUNNING, State.REVOKED}),
    State.RUNNING: frozenset({State.GIVING_UP}),
    State.GIVING_UP: frozenset({State.REVOKED}),
}


class Lifecycle:
    """The state of one worker."""

    def __init__(self) -> None:
        """Start with nothing owned."""
        self.state = State.REVOKED

    def to(self, state: State) -> None:
        """Go to another state. Raises AssertionError for a transition that is not in the table."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"a worker cannot go from {self.state.value} to {state.value}")
        self.state = state
