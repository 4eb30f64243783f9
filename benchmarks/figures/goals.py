"""What was to be reached, beside what was measured."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A measured value with its bound: `at_least`, `at_most`, or both."""

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the value is within the bounds; a value that is no number is not."""
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return low and high and self.value == self.value

    @property
    def verdict(self) -> str:
        """`met` or `MISSED`."""
        return "met" if self.met else "MISSED"

    @property
    def target(self) -> str:
        """The bounds in words."""
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{words} {bound:g}{self._unit}" for words, bound in bounds if bound is not None)

    @property
    def measured(self) -> str:
        """The value with its unit; counts have none."""
        digits = 2 if self.unit else 0
        return f"{self.value:,.{digits}f}{self._unit}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""


def table(goals: Iterable[Goal]) -> str:
    """Return the goals as a table, in Markdown."""
    lines = ["| goal | target | measured | |", "| --- | --- | --: | --- |"]
    lines += [f"| {goal.what} | {goal.target} | {goal.measured} | {marked(goal)} |" for goal in goals]
    return "\n".join(lines)


def marked(goal: Goal) -> str:
    """Return the verdict in Markdown: what was missed is bold."""
    return goal.verdict if goal.met else f"**{goal.verdict}**"
