"""The findings and repairs of a run: counts by entity and organization, some ids, what could not be judged and why."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from avro import instants

#: At most so many ids of each kind are in a report; the counts are of all.
_MOST_SAMPLES = 100
#: The organization of rows known from partial updates only.
UNKNOWN = ""


@dataclass(slots=True)
class Tally:
    """Counts for rows of one entity and organization."""

    #: Rows of the platform that were compared, and of these, those without a state and those whose state differs.
    compared: int = 0
    missing: int = 0
    different: int = 0
    #: Of both: posted in this run; posted earlier, and not in the states yet; refused by the bridge.
    posted: int = 0
    pending: int = 0
    refused: int = 0
    #: Rows whose state stays different although they were posted, and rows whose state is newer than the platform's.
    conflicts: int = 0
    #: Rows that stay out: of suppressed contacts, and contacts and addresses that were deleted here. They are not
    #: posted.
    kept_out: int = 0
    #: Ids of the states that were asked for, those that the platform does not have, and the outcomes of these.
    asked: int = 0
    gone: int = 0
    deleted: int = 0
    withheld: int = 0
    #: Ids that were not asked for, because the platform shows nothing of their organization.
    unjudged: int = 0
    #: Rows that never arrived although others refer to them, when the run began: messages with receipts only,
    #: conversations with messages only.
    orphans: int = 0
    #: Of `posted` and `deleted`: the states have it.
    confirmed: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A row with a difference, and the differing columns."""

    entity: str
    organization_id: str
    id: str
    columns: list[str]


@dataclass(slots=True)
class Span:
    """The rows that were compared, by `updated_at`, in microseconds since the epoch."""

    entity: str
    organization_id: str | None
    since: int
    until: int


@dataclass(slots=True)
class Report:
    """The outcome of one run."""

    run: str
    platform: str
    release: str
    dry_run: bool
    began_at: int
    ended_at: int = 0
    spans: list[Span] = field(default_factory=list)
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    #: Up to when every row of an entity and organization was compared, and posted if it was missing.
    verified_until: dict[tuple[str, str], int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    #: How often such runs begin, in seconds, if they do: `--every`.
    every_s: int | None = None

    def of(self, entity: str, organization: str | None) -> Tally:
        """Return the tally to count in."""
        return self.tallies.setdefault((entity, organization or UNKNOWN), Tally())

    def sample(self, kind: str, entity: str, organization: str | None, id_: str, columns: list[str]) -> None:
        """Name a row, if there is room."""
        samples = self.samples.setdefault(kind, [])
        if len(samples) < _MOST_SAMPLES:
            samples.append(Sample(entity, organization or UNKNOWN, id_, columns))

    def total(self, entity: str | None = None) -> Tally:
        """Return the sums, of one entity or of all."""
        sums = Tally()
        for (name, _), tally in self.tallies.items():
            if entity in {None, name}:
                for column, value in asdict(tally).items():
                    setattr(sums, column, getattr(sums, column) + value)
        return sums

    @property
    def well(self) -> bool:
        """Whether the states now have every compared row, and nothing is left to decide."""
        total = self.total()
        found = total.missing + total.different + total.gone
        done = 0 if self.dry_run else total.confirmed
        return not (self.problems or total.conflicts or total.refused or total.withheld) and found == done

    def content(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "run": self.run,
            "platform": self.platform,
            "release": self.release,
            "dry_run": self.dry_run,
            "began_at": instants.render(self.began_at),
            "ended_at": instants.render(self.ended_at),
            "every_seconds": self.every_s,
            "well": self.well,
            "spans": [
                {
                    "entity": span.entity,
                    "organization_id": span.organization_id,
                    "since": instants.render(span.since),
                    "until": instants.render(span.until),
                }
                for span in self.spans
            ],
            "rows": [
                {
                    "entity": entity,
                    "organization_id": organization,
                    **asdict(tally),
                    "verified_until": _rendered(self.verified_until.get((entity, organization))),
                }
                for (entity, organization), tally in sorted(self.tallies.items())
            ],
            "samples": {kind: [asdict(sample) for sample in samples] for kind, samples in self.samples.items()},
            "problems": self.problems,
        }


def _rendered(at: int | None) -> str | None:
    return None if at is None else instants.render(at)


def text(content: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a report for people; `content` as Report.content returns it."""
    yield f"run {content['run']} against {content['platform']}, {content['began_at']} to {content['ended_at']}"
    for span in content["spans"]:
        whose = span["organization_id"] or "all organizations"
        yield f"compared {span['entity']} of {whose}, changed {span['since']} to {span['until']}"
    for row in content["rows"]:
        lost = row["missing"] + row["different"]
        yield (
            f"{row['entity']} of {row['organization_id'] or 'unknown organization'}:"
            f" {row['missing']:,} of {row['compared']:,} missing, {row['different']:,} different"
            + (f", {row['posted']:,} posted" if lost else "")
            + (f", {row['pending']:,} posted earlier and not in the states yet" if row["pending"] else "")
            + (f", {row['refused']:,} refused by the bridge" if row["refused"] else "")
            + (f", {row['conflicts']:,} in conflict" if row["conflicts"] else "")
            + (f", {row['kept_out']:,} kept out" if row.get("kept_out") else "")
            + (f", {row['orphans']:,} orphans before" if row.get("orphans") else "")
            + f"; {row['gone']:,} of {row['asked']:,} gone"
            + (f", {row['deleted']:,} deleted" if row["gone"] else "")
            + (f", {row['withheld']:,} withheld" if row["withheld"] else "")
            + (f", {row['unjudged']:,} not judged" if row["unjudged"] else "")
            + (f"; {row['confirmed']:,} in the states now" if row["confirmed"] else "")
        )
    for problem in content["problems"]:
        yield f"problem: {problem}"
    done = "nothing was changed (--dry-run)" if content["dry_run"] else "the states match the platform"
    yield done if content["well"] or content["dry_run"] else "problems were found: see above"
