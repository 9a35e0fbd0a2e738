"""`tagging`: mark the persons, animals, foods and buildings that a sentence says were there.

A span is a noun with the adjectives before it, in IOB2 tags. The frames fit every class, so the
class of a noun must be known (from pretraining: the test split has its own nouns), and an
adjective has the class of the noun behind it. What a sentence denies is not marked:

    Instead of the old church they found a   small white    horse    .
    O       O  O   O   O      O    O     O   B-animal I-animal I-animal O
"""

from ..columns import Row
from ..draw import Draw
from ..metrics import span_f1, token_accuracy
from .card import BundledTask
from .english import a

# What is of the class: in the training split, and in the test split.
CLASSES = {
    "person": (
        "farmer teacher doctor soldier nurse lawyer captain hunter",
        "sailor merchant priest student clerk engineer servant painter",
    ),
    "animal": (
        "horse dog cat lion mouse fox cow elephant",
        "wolf rabbit tiger goat sheep pig monkey donkey",
    ),
    "food": (
        "cake cheese apple egg sausage lemon",
        "pie potato orange pudding sandwich cherry",
    ),
    "building": (
        "church castle school hotel hospital cottage library",
        "palace temple theatre museum inn factory chapel",
    ),
}
LABELS = ("O", *(f"{prefix}-{name}" for name in CLASSES for prefix in "BI"))
OUTSIDE = 0
ADJECTIVES = (("famous", "strange", "beautiful", "curious"), ("old", "new", "small", "large"))

# X is there; N is denied.
PLAIN, NEGATION, LIST = "plain", "negation", "list"
FRAMES = {
    PLAIN: (
        "We saw X near X .",
        "X was next to X .",
        "There was X beside X in the picture .",
        "She wrote about X , and her brother wrote about X .",
        "The second chapter is about X .",
        "I often think of X and of X .",
    ),
    NEGATION: (
        "The picture showed X , not N .",
        "Instead of N they found X .",
        "It was not N but X that we noticed .",
        "They wrote about X and X , but not about N .",
        "I remember X ; I do not remember N .",
        "Nobody spoke of N , only of X .",
        "There was X in the story , but there was no N .",
        "X was in the picture without N .",
    ),
    LIST: (
        "In the story there were X , X and X .",
        "We had heard of X , X and X before .",
        "The children drew X and X , and later also X .",
        "First they saw X , then X , and in the end X .",
    ),
}
PLAN = (PLAIN, NEGATION, LIST, NEGATION, PLAIN)


def compose(draw: Draw, i: int, test: bool) -> Row:
    """Write sentence `i` in the form whose turn it is; the classes take turns, too."""
    form = PLAN[i % len(PLAN)]
    names = list(CLASSES)
    turn = i // len(PLAN)
    tokens: list[str] = []
    tags: list[int] = []
    for word in draw.choice(FRAMES[form]).split():
        if word not in ("X", "N"):
            tokens.append(word)
            tags.append(OUTSIDE)
            continue
        name = names[turn % len(names)]
        turn += 1 + draw.below(2)
        noun = draw.choice(CLASSES[name][test].split())
        chosen = [draw.choice(group) for group in ADJECTIVES if draw.chance(0.4)]
        phrase = [*chosen, noun]
        if tokens[-1:] != ["no"]:
            tokens.append(draw.choice(("the", a(phrase[0]).split()[0])))
            tags.append(OUTSIDE)
        begin = LABELS.index(f"B-{name}")
        tokens += phrase
        tags += [begin] + [begin + 1] * len(chosen) if word == "X" else [OUTSIDE] * len(phrase)
    tokens[0] = tokens[0].capitalize()
    return {"tokens": tokens, "tags": tags, "form": form}


def spoil(draw: Draw, rows: list[Row], share: float) -> None:
    """Give a share of the spans another class."""
    begins = [
        (row, k) for row in rows for k, tag in enumerate(row["tags"]) if LABELS[tag][0] == "B"
    ]
    for row, start in draw.sample(begins, round(share * len(begins))):
        old = row["tags"][start]
        new = draw.choice([tag for tag in range(1, len(LABELS), 2) if tag != old])
        row["tags"][start] = new
        for k in range(start + 1, len(row["tags"])):
            if row["tags"][k] != old + 1:
                break
            row["tags"][k] = new + 1


def _vocabulary(test: bool) -> tuple[str, ...]:
    return tuple(noun for nouns in CLASSES.values() for noun in nouns[test].split())


TAGGING = BundledTask(
    name="tagging",
    summary="mark the persons, animals, foods and buildings that were there",
    kind="tagging",
    metrics=("span_f1", "token_accuracy"),
    labels=LABELS,
    licence="CC BY 4.0",
    citation="The PFT Lab developers",
    compose=compose,
    spoil=spoil,
    scores=(span_f1, token_accuracy),
    train_words=_vocabulary(test=False),
    test_words=_vocabulary(test=True),
    version=1,
)
