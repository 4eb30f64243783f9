"""What the reason of a dead letter means, and what an operator can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from avro.dead_letters import MEANINGS
from bridge.http.refusals import REASONS

_RECONCILE = "The row itself is in OpenBSP: `bridge reconcile --since` a while before this refusal brings it."


@dataclass(frozen=True, slots=True)
class Explanation:
    """The meaning of a reason and what to do. `hopeless` says why redriving cannot help, if it never can."""

    meaning: str
    advice: str
    hopeless: str | None = None


_FOREIGN = (
    "Something other than the bridge writes to the topic: find it by the refused record, and revoke its right to write."
)
_FOREIGN_KEY = f"{_FOREIGN} Redriving writes the event with the key of its row."
_REGISTRY = (
    "The registry gave an id to another schema, or something other than the bridge writes to the topic:"
    " `bridge schemas check`. With the right schema under the id, redrive."
)

_SUPPRESSED = (
    "Delete the contact's rows in OpenBSP, so that it sends none. To let the contact in again:"
    " `bridge erase --lift --contact ADDRESS`, then `bridge reconcile`."
)
_SUPPRESSED_HOPELESS = "nothing of the row was kept: its contact was erased"

#: What to do, and why redriving is useless, by `origin` and `reason`.
_ADVICE: Mapping[tuple[str, str], tuple[str, str | None]] = MappingProxyType(
    {
        ("webhook", "malformed_json"): (
            f"Find out what posts it: OpenBSP sends JSON. A proxy may have cut the body off. {_RECONCILE}",
            "nothing of the body was kept: what is no JSON cannot be told from a secret",
        ),
        ("webhook", "invalid_event"): (
            (
                "`detail` says what is wrong with the body. It is kept unless it was a deletion or no JSON object; of a"
                " bound token if its row can be told to be of the token's organizations; while contacts are suppressed"
                " if it can be told to be of none of them."
                " If a release of OpenBSP sends such bodies, upgrade the bridge; then redrive."
            ),
            None,
        ),
        ("webhook", "unsupported_entity"): (
            "Remove the webhook of that table from OpenBSP (table `webhooks`).",
            "nothing of the row was kept: the catalogue does not have its table, and rows of others hold secrets",
        ),
        ("webhook", "wrong_organization"): (
            (
                "The webhook of one organization has the token of another. Give each organization's webhooks its own"
                f" token (`bridge connect --organization ID`). {_RECONCILE}"
            ),
            "nothing of the row was kept: its sender had no right to write it",
        ),
        ("webhook", "too_large"): (
            f"If such rows are legitimate, raise BRIDGE_MAX_BODY_BYTES. {_RECONCILE}",
            "nothing of the body was kept: it was larger than the limit",
        ),
        ("webhook", "suppressed"): (_SUPPRESSED, _SUPPRESSED_HOPELESS),
        ("bridge", "suppressed"): (_SUPPRESSED, _SUPPRESSED_HOPELESS),
        ("bridge", "broker_refused"): (
            (
                "`detail` has the broker's error. Usually the topic's max.message.bytes is too small, or the bridge may"
                " not write to it: `bridge topics check`. Repair that, then redrive."
            ),
            None,
        ),
        ("bridge", "spool_age_limit"): (
            (
                "Kafka did not take events for longer than BRIDGE_SPOOL_MAX_AGE_S. If they are still wanted, redrive:"
                " states stay right, because an older version of a row changes nothing."
            ),
            None,
        ),
        ("streams", "not_wire_format"): (_FOREIGN, "the value is no Avro record"),
        ("streams", "unknown_schema"): (
            "The registry lost its data, or another one was used to write: restore it from its backup, then redrive.",
            None,
        ),
        ("streams", "wrong_subject"): (_REGISTRY, None),
        ("streams", "undecodable"): (_REGISTRY, None),
        ("streams", "out_of_range"): (_FOREIGN, "the worker would refuse the same instant again"),
        ("streams", "no_key"): (_FOREIGN_KEY, None),
        ("streams", "bad_key"): (_FOREIGN_KEY, None),
        ("streams", "bad_header"): (
            f"{_FOREIGN} A row that its writer has no right to write may be an attack.",
            "its header says that its writer has no right to write the row",
        ),
        ("streams", "key_mismatch"): (_FOREIGN_KEY, None),
        ("streams", "ends_worker"): (
            (
                "The last log lines of the workers that ended say what the event does to them: report them. Redrive"
                " when the worker is repaired; before, it would end workers again."
            ),
            None,
        ),
        ("streams", "too_large"): (
            "The row is larger than the states can hold: it has to be made smaller in OpenBSP, which sends it again.",
            "the worker would refuse a row of this size again",
        ),
    }
)

#: By `origin` and `reason`.
EXPLANATIONS: Mapping[tuple[str, str], Explanation] = MappingProxyType(
    {
        (origin, code): Explanation(
            MEANINGS[origin, code] if origin != "webhook" else REASONS[code].meaning, advice, hopeless
        )
        for (origin, code), (advice, hopeless) in _ADVICE.items()
    }
)

_UNKNOWN = Explanation(
    "Unknown to this version: another version of the bridge or of the worker wrote it.",
    "Use the `bridge` command of the version that runs.",
    "this version does not know what the reason means",
)


def explain(origin: str, reason: str) -> Explanation:
    """Return what a reason means; for one of a newer version, that it is unknown."""
    return EXPLANATIONS.get((origin, reason), _UNKNOWN)
