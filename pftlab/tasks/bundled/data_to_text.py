"""`data_to_text`: say in words what the record of a lost-property office says.

    item: hat | finder: nurse | colour: red | place: station | claimed: no
    The nurse found a red hat at the station. Nobody has come for it yet.

A text is good when it says every slot of the record and nothing else. The values are known words,
each of one attribute only, so a text can be read back into a record and every error counted: a
slot that is missing, one with a wrong value, one that was invented. The test split has values of
its own, which the model must copy.
"""

import re
from collections.abc import Sequence

from ..columns import Row
from ..draw import Draw
from ..metrics import bleu
from .card import BundledTask
from .english import a, sentence

Record = dict[str, str]

# The values of the training split, and those of the test split.
VALUES = {
    "item": (
        "umbrella hat coat bag key lamp pen sword",
        "ring cloak camera shoe basket purse letter cup",
    ),
    "colour": ("red blue black brown", "green white yellow purple"),
    "size": ("small large", "big little"),
    "place": (
        "station church school market library park",
        "hotel theatre hospital museum bridge castle",
    ),
    "finder": (
        "farmer teacher doctor soldier nurse lawyer",
        "sailor merchant priest student clerk engineer",
    ),
    "day": ("Monday Tuesday Wednesday Thursday", "Friday Saturday Sunday"),
}
CLAIMED = "claimed"
STATEMENTS = {
    "yes": ("It has been claimed.", "Its owner has come for it.", "The owner has claimed it."),
    "no": (
        "It has not been claimed.",
        "Nobody has come for it yet.",
        "No owner has come for it.",
        "It was never claimed.",
    ),
}
ATTRIBUTE_OF = {
    value.lower(): attribute
    for attribute, pair in VALUES.items()
    for values in pair
    for value in values.split()
}


def compose(draw: Draw, i: int, test: bool) -> Row:
    """Write a record, with one text for training and up to three for the test split."""
    record = _record(draw, test)
    source = " | ".join(f"{name}: {record[name]}" for name in draw.shuffled(list(record)))
    texts = dict.fromkeys(say(draw, record) for _ in range(12 if test else 1))
    references = list(texts)[:3]
    return {"source": source, "target": references[0], "references": references}


def _record(draw: Draw, test: bool) -> Record:
    optional = draw.sample([*VALUES, CLAIMED], 2 + draw.below(5))
    record = {
        name: draw.choice(pair[test].split())
        for name, pair in VALUES.items()
        if name == "item" or name in optional
    }
    if CLAIMED in optional or len(record) < 3:
        record[CLAIMED] = draw.choice(("yes", "no"))
    return record


def say(draw: Draw, record: Record) -> str:
    """Put a record into one to three sentences; every call may choose others."""
    size = f"{record['size']} " if "size" in record else ""
    colour = f"{record['colour']} " if "colour" in record else ""
    thing = a(size + colour + record["item"])
    place = f" at the {record['place']}" if "place" in record else ""
    day = f" on {record['day']}" if "day" in record else ""
    if "finder" in record:
        finder = f"the {record['finder']}"
        options = [
            [f"{finder} found {thing}{place}{day}"],
            [f"{thing} was found{place} by {finder}{day}"],
            [f"{thing} was found{place}", f"{finder} found it{day}"],
        ]
        if day:
            options.append([f"{day.strip()} {finder} found {thing}{place}"])
    else:
        options = [[f"{thing} was found{place}{day}"], [f"somebody found {thing}{place}{day}"]]
        if day:
            options.append([f"{day.strip()} {thing} was found{place}"])
    if colour:
        plain = [part.replace(thing, a(size + record["item"])) for part in options[0]]
        options.append([*plain, f"it is {colour}".strip()])
    sentences = [sentence(part) for part in draw.choice(options)]
    if CLAIMED in record:
        sentences.append(draw.choice(STATEMENTS[record[CLAIMED]]))
    return " ".join(sentences)


def read(text: str) -> dict[str, set[str]]:
    """Read a text back: for every attribute that it speaks of, the values that it gives."""
    found: dict[str, set[str]] = {}
    for part in re.split(r"[.!?;]", text.lower()):
        words = re.findall(r"\w+", part)
        for word in words:
            if word in ATTRIBUTE_OF:
                found.setdefault(ATTRIBUTE_OF[word], set()).add(word)
        if {"claimed", "unclaimed", "owner", "come"} & set(words):
            denied = {"not", "no", "nobody", "never", "t", "unclaimed"} & set(words)
            found.setdefault(CLAIMED, set()).add("no" if denied else "yes")
    return found


def slot_errors(text: str, reference: str) -> dict[str, int]:
    """Count the slots of the reference, and those that the text leaves out, changes or invents.

    A slot with the right value and another beside it counts as invented.
    """
    said, meant = read(text), read(reference)
    errors = {"slots": len(meant), "missing": 0, "wrong": 0, "invented": 0}
    for attribute, values in meant.items():
        others = said.get(attribute, set()) - values
        if not said.get(attribute):
            errors["missing"] += 1
        elif not values <= said[attribute]:
            errors["wrong"] += 1
        elif others:
            errors["invented"] += 1
    errors["invented"] += len(said.keys() - meant.keys())
    return errors


def _rate(kinds: Sequence[str], texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    counts = [slot_errors(t, r[0]) for t, r in zip(texts, references, strict=True)]
    slots = sum(count["slots"] for count in counts)
    return sum(count[kind] for count in counts for kind in kinds) / slots if slots else 0.0


def slot_accuracy(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """1 − slot error rate, and 0 where there are more errors than slots."""
    return max(0.0, 1 - slot_error_rate(texts, references))


def slot_error_rate(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Missing, wrong and invented slots for each slot of the records; less is better."""
    return _rate(("missing", "wrong", "invented"), texts, references)


def missing(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Slots left out, for each slot of the records."""
    return _rate(("missing",), texts, references)


def wrong(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Slots with another value, for each slot of the records."""
    return _rate(("wrong",), texts, references)


def invented(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Slots that no record has, for each slot of the records."""
    return _rate(("invented",), texts, references)


def spoil(draw: Draw, rows: list[Row], share: float) -> None:
    """Give a share of the rows a text with one slot missing, wrong or invented."""
    for row in draw.sample(rows, round(share * len(rows))):
        record = dict(pair.split(": ") for pair in row["source"].split(" | "))
        present = [name for name in VALUES if name in record and name != "item"]
        absent = [name for name in VALUES if name not in record]
        kind = draw.choice(["wrong", *["missing"] * bool(present), *["invented"] * bool(absent)])
        if kind == "missing":
            del record[draw.choice(present)]
        elif kind == "invented":
            name = draw.choice(absent)
            record[name] = draw.choice(VALUES[name][0].split())
        else:
            name = draw.choice(["item", *present])
            record[name] = draw.choice([v for v in VALUES[name][0].split() if v != record[name]])
        row["target"] = say(draw, record)
        row["references"] = [row["target"]]


def _vocabulary(test: bool) -> tuple[str, ...]:
    return tuple(value for pair in VALUES.values() for value in pair[test].split())


DATA_TO_TEXT = BundledTask(
    name="data_to_text",
    summary="say in words what a record of lost property says",
    kind="generation",
    metrics=("slot_accuracy", "slot_error_rate", "missing", "wrong", "invented", "bleu"),
    licence="CC BY 4.0",
    citation="The PFT Lab developers",
    compose=compose,
    spoil=spoil,
    scores=(slot_accuracy, slot_error_rate, missing, wrong, invented, bleu),
    train_words=_vocabulary(test=False),
    test_words=_vocabulary(test=True),
    version=1,
)
