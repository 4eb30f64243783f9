"""The views are read in histories often enough to find something."""

from simulation.history import World
from simulation.plan import plan_of
from simulation.subjects import JoinSubject


def test_owners_answer_in_histories_and_the_age_of_answers_is_judged() -> None:
    reads = []
    for seed in range(20):
        world = World(plan_of(seed), JoinSubject())
        assert world.run().wrong == []
        reads.append(world.reads)
    assert sum(one.answers for one in reads) > 200
    assert sum(one.judged for one in reads) > 40
