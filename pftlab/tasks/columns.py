"""Which columns make which kind of task, and what else data sets call them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import BadValue, UnknownName

Row = dict[str, Any]

#: Kind of task → our column → what else it is called. Several names in one text are joined, each
#: on a line of its own. The first kind whose columns are all there is taken.
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "tagging": {"tokens": ("words",), "tags": ("ner_tags", "pos_tags", "chunk_tags", "upos")},
    "generation": {
        "source": ("prompt", "instruction input", "instruction", "input"),
        "target": ("completion", "output", "response"),
    },
    "pairs": {
        "text_a": ("sentence1", "premise"),
        "text_b": ("sentence2", "hypothesis"),
        "label": ("labels",),
    },
    "classification": {"text": ("sentence",), "label": ("labels",)},
}
COLUMNS = {kind: tuple(columns) for kind, columns in KINDS.items()}
COLUMNS["regression"] = COLUMNS["pairs"]
#: Columns that say of data that they are for something else, and what to make of them.
ELSEWHERE = {
    "messages": "A chat is not supported. Write what was said before as source, and the answer "
    "as target",
    "conversations": "A chat is not supported. Write what was said before as source, and the "
    "answer as target",
    "chosen": "Preferences are not supported. Write prompt as source and chosen as target",
    "text": "Plain text for language modelling is not supported. Give each text a label, or cut "
    "it into source (how it begins) and target (how it goes on)",
}

Columns = Mapping[str, str | Sequence[str]]


def choose(present: Sequence[str], given: Columns, where: str) -> tuple[str, dict[str, list[str]]]:
    """Find the kind of task in the columns of a data set.

    Args:
        present: the names of the columns.
        given: our name → theirs, as the caller says; several of theirs are joined.
        where: what to call the data in an error.

    Returns:
        The kind, "classification" also for a regression; and for each of our columns those of
        the data that it is made of.

    Raises:
        UnknownName: a name in `given` is none of ours, or not in the data.
        BadValue: no kind fits, or two columns fit one place.
    """
    ours = dict.fromkeys(name for columns in KINDS.values() for name in columns)
    made = {name: [name] for name in (*ours, "references") if name in present}
    for name, theirs in given.items():
        if name not in (*ours, "references"):
            raise UnknownName("column", name, (*ours, "references"))
        made[name] = [theirs] if isinstance(theirs, str) else list(theirs)
        for their in made[name]:
            if their not in present:
                raise UnknownName(f"column in {where}", their, map(str, present))
    there = made.keys() | ({"target"} if "references" in made else set())
    for kind in KINDS:
        if there >= set(KINDS[kind]):
            return kind, made
    for kind, columns in KINDS.items():
        found = {n: _usual(n, others, present) for n, others in columns.items() if n not in there}
        if all(found.values()):
            return kind, made | found
    listing = ", ".join(map(repr, present)) or "none"
    advice = next((f"{text}. " for name, text in ELSEWHERE.items() if name in present), "")
    options = "; ".join(" and ".join(columns) for columns in KINDS.values())
    raise BadValue(
        f"The rows in {where} have the columns {listing[:300]}. {advice}"
        f"Name them as one of these: {options}; or say which is which, as in "
        'columns={"text": "review", "label": "stars"}.'
    )


def _usual(name: str, others: Sequence[str], present: Sequence[str]) -> list[str]:
    """The columns that a data set has in place of `name`."""
    found = [other.split() for other in others if set(other.split()) <= set(present)]
    found = [some for some in found if not any(set(some) < set(more) for more in found)]
    if len(found) > 1:
        names = " and ".join(repr(" ".join(some)) for some in found)
        raise BadValue(
            f"Both {names} could be the column {name!r}. Say which, as in "
            f"columns={{{name!r}: {found[0][0]!r}}}."
        )
    return found[0] if found else []


def rename(rows: Sequence[Row], made: Mapping[str, Sequence[str]]) -> Sequence[Row]:
    """Give rows our columns; see `choose`. What a row lacks stays out of it."""
    made = {ours: theirs for ours, theirs in made.items() if list(theirs) != [ours]}
    if not made:
        return rows
    return [
        row
        | {
            ours: row[theirs[0]] if len(theirs) == 1 else _join([row.get(t) for t in theirs])
            for ours, theirs in made.items()
            if theirs[0] in row
        }
        for row in rows
    ]


def _join(parts: Sequence[Any]) -> Any:
    """Several texts as one, each on a line of its own; empty ones are left out."""
    parts = [part for part in parts if part is not None and part != ""]
    odd = [part for part in parts if not isinstance(part, str)]
    return odd[0] if odd else "\n".join(parts)
