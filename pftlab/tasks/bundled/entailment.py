"""`entailment`: does the second sentence follow from the first?

It does when it says less: who saw a wolf saw an animal, and who saw no animal saw no wolf. So a
model must know which word names a kind of the other (from pretraining: the test split has its own
kinds), and in which direction the sentence lets it be replaced.

| form     | first                                      | second                           |
|----------|--------------------------------------------|----------------------------------|
| plain    | The doctor drew a small wolf.              | The doctor drew an animal.       |
| negation | The doctor did not draw any animal.        | The doctor did not draw a wolf.  |
| contrast | The doctor drew not a rose but a wolf.     | The doctor drew an animal.       |
| roles    | The doctor drew a wolf, the nurse a rose.  | The nurse drew a flower.         |
| only     | The doctor drew nothing but a wolf.        | The doctor did not draw a flower.|
"""

from ..columns import Row
from ..draw import Draw
from ..metrics import accuracy
from .card import BundledTask, flip_labels
from .english import a, sentence

# Kinds and what is of the kind: of the training split, and of the test split.
KINDS: tuple[dict[str, str], dict[str, str]] = (
    {
        "animal": "horse dog cat lion wolf sheep cow rabbit",
        "flower": "rose lily daisy violet",
        "vehicle": "car carriage bus wagon bicycle",
        "weapon": "gun sword rifle pistol cannon",
        "fruit": "apple orange cherry lemon",
    },
    {
        "bird": "eagle hawk duck goose swan crow",
        "tree": "oak pine palm willow birch",
        "building": "church castle palace hotel hospital cottage",
        "instrument": "piano guitar violin trumpet flute",
        "garment": "hat coat shirt cloak jacket",
    },
)
VERBS = (  # past and base form
    {"saw": "see", "found": "find", "drew": "draw", "remembered": "remember"},
    {"noticed": "notice", "described": "describe", "painted": "paint", "mentioned": "mention"},
)
PEOPLE = (
    "farmer teacher doctor soldier lawyer nurse captain hunter".split(),
    "sailor merchant priest student clerk engineer servant driver".split(),
)
SIZES = ("", "", "small ", "large ", "old ", "new ", "white ", "black ", "beautiful ", "strange ")
OPENINGS = ("", "", "on the first day ", "in the morning ", "at the end of the year ")  # of both
PLACES = ("", "", " near the river", " by the road", " on the way home", " behind the house")
PLAIN, NEGATION, CONTRAST, ROLES, ONLY = "plain", "negation", "contrast", "roles", "only"
PLAN = (
    *(PLAIN, NEGATION, PLAIN, CONTRAST, PLAIN, ROLES, PLAIN, ONLY),
    *(PLAIN, NEGATION, PLAIN, ROLES, PLAIN),
)
FOLLOWS = 0  # the number of the label "entailment"


def compose(draw: Draw, i: int, test: bool) -> Row:
    """Write pair `i`: its label is i mod 2, its form the one whose turn it is."""
    label, form = i % 2, PLAN[i // 2 % len(PLAN)]
    kinds, verbs = KINDS[test], VERBS[test]
    person, other = (f"the {name}" for name in draw.sample(PEOPLE[test], 2))
    verb = draw.choice(list(verbs))
    base = verbs[verb]
    kind, wrong_kind = draw.sample(list(kinds), 2)
    one, another = (draw.choice(kinds[k].split()) for k in (kind, wrong_kind))
    place = draw.choice(PLACES)
    sized, sized_other = (a(draw.choice(SIZES) + noun) for noun in (one, another))
    asked = kind if label == FOLLOWS else wrong_kind

    if form == PLAIN:
        # Half of those that do not follow say more, the other half something else.
        if label == FOLLOWS or draw.chance(0.5):
            first, second = sized, a(asked)
        else:
            first, second = a(draw.choice(SIZES) + kind), a(one)
        texts = (f"{person} {verb} {first}{place}", f"{person} {verb} {second}")
    elif form == NEGATION:
        small_one, small_another = (draw.choice(SIZES) + noun for noun in (one, another))
        if label == FOLLOWS:
            first, second = kind, small_one
        else:
            first, second = draw.choice(((small_one, kind), (kind, small_another)))
        texts = (f"{person} did not {base} any {first}", f"{person} did not {base} {a(second)}")
    elif form == CONTRAST:
        texts = (
            f"{person} {verb} not {sized_other} but {sized}{place}",
            f"{person} {verb} {a(asked)}",
        )
    elif form == ROLES:
        pairs = [(person, kind, wrong_kind), (other, wrong_kind, kind)]
        who, right, wrong = draw.choice(pairs)
        texts = (
            f"{person} {verb} {sized}{place} and {other} {sized_other}",
            f"{who} {verb} {a(right if label == FOLLOWS else wrong)}",
        )
    else:
        denied = wrong_kind if label == FOLLOWS else kind
        texts = (
            f"{person} {verb} nothing but {sized}{place}",
            f"{person} did not {base} {a(denied)}",
        )
    opening = draw.choice(OPENINGS)
    text_a, text_b = (sentence(opening + text) for text in texts)
    return {"text_a": text_a, "text_b": text_b, "label": label, "form": form}


def _vocabulary(test: bool) -> tuple[str, ...]:
    kinds, verbs = KINDS[test], VERBS[test]
    members = [noun for nouns in kinds.values() for noun in nouns.split()]
    return (*kinds, *members, *verbs, *verbs.values(), *PEOPLE[test])


ENTAILMENT = BundledTask(
    name="entailment",
    summary="does the second sentence follow from the first?",
    kind="pairs",
    metrics=("accuracy",),
    labels=("entailment", "not_entailment"),
    licence="CC BY 4.0",
    citation="The PFT Lab developers",
    compose=compose,
    spoil=flip_labels,
    scores=(accuracy,),
    train_words=_vocabulary(test=False),
    test_words=_vocabulary(test=True),
    version=1,
)
