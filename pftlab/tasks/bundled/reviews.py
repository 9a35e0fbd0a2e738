"""`reviews`: is a one-sentence review of a place, a meal, a book, … good or bad?

The label is the opinion of the writer on the thing reviewed. Words alone do not tell it: every
form but the plain one holds words of the other side too.

| form       | an example of a good review                                            |
|------------|------------------------------------------------------------------------|
| plain      | It was a very charming village.                                         |
| negation   | The soup was far from bad.                                              |
| contrast   | The film was not dull but splendid.                                     |
| concession | Although the handle was ugly, the knife as a whole was excellent.       |
| distractor | After a miserable journey, we found the hotel wonderful.                |
"""

from dataclasses import dataclass

from ..columns import Row
from ..draw import Draw
from ..metrics import accuracy
from .card import BundledTask, flip_labels
from .english import a, sentence


@dataclass(frozen=True)
class Topic:
    """Things to review; words are pairs of texts: of the training split, and of the test split."""

    nouns: tuple[str, str]
    good: tuple[str, str]  # adjectives that fit only here
    bad: tuple[str, str]
    parts: str
    habits: tuple[str, ...]  # what one did with it, without an opinion


@dataclass(frozen=True)
class Words:
    """The content words of one split and one topic, by opinion: [bad, good]."""

    nouns: list[str]
    adjectives: list[list[str]]
    verbs: list[list[str]]
    verdicts: list[list[str]]


GOOD = (
    "good wonderful excellent beautiful charming pleasant splendid perfect fine lovely remarkable",
    "great magnificent delightful nice brilliant marvellous fantastic admirable amazing impressive "
    "attractive",
)
BAD = (
    "bad terrible horrible ugly miserable unpleasant wretched ridiculous dull hopeless shabby",
    "awful dreadful poor hideous disagreeable nasty horrid dreary dismal inferior frightful",
)
VERBS_GOOD = ("loved enjoyed", "liked admired praised")
VERBS_BAD = ("hated avoided", "disliked despised")
VERDICTS_GOOD = ("pleasure success", "delight joy triumph")
VERDICTS_BAD = ("failure mistake", "disaster disappointment misfortune")

TOPICS = (
    Topic(
        nouns=("hotel garden museum village cottage", "restaurant inn theatre park apartment"),
        good=("comfortable", "cheerful"),
        bad=("dirty", "gloomy"),
        parts="view entrance weather road price",
        habits=("we went to last week", "near the river", "by the sea", "my uncle owns"),
    ),
    Topic(
        nouns=("dinner soup bread cake wine", "breakfast supper meal coffee fish"),
        good=("fresh", "delicious"),
        bad=("stale", "rotten"),
        parts="smell service portion sauce colour",
        habits=("we had on Sunday", "my aunt made", "they gave us", "we took home"),
    ),
    Topic(
        nouns=("book novel poem play article", "story tale magazine biography lecture"),
        good=("interesting clever", "fascinating amusing"),
        bad=("stupid absurd", "tedious foolish"),
        parts="title ending beginning cover plot",
        habits=("my teacher chose", "I was given", "everyone talks about", "by his cousin"),
    ),
    Topic(
        nouns=("film concert opera song", "movie performance drama album"),
        good=("elegant exciting", "thrilling memorable"),
        bad=("boring silly", "vulgar tiresome"),
        parts="acting opening singing stage ending",
        habits=("we saw on Friday", "my sister chose", "everyone talks about", "from last year"),
    ),
    Topic(
        nouns=("knife lamp clock camera chair", "hammer bicycle radio telephone table"),
        good=("useful", "reliable"),
        bad=("useless", "clumsy"),
        parts="handle shape colour finish weight",
        habits=("my brother bought", "we use at home", "from the market", "you sent us"),
    ),
)

PLAIN, NEGATION, CONTRAST = "plain", "negation", "contrast"
CONCESSION, DISTRACTOR = "concession", "distractor"
PLAN = (  # the forms in turn: each comes once with either label
    *(PLAIN, CONTRAST, PLAIN, NEGATION, PLAIN),
    *(PLAIN, CONCESSION, PLAIN, DISTRACTOR, PLAIN),
)

DEGREES = ("", "", "", "really ", "quite ", "truly ")
OPENINGS = ("", "", "", "", "in the end, ", "all in all, ", "to be honest, ", "I must say that ")
CLOSINGS = (
    *("", "", "", "", ", if you ask me", ", and the others thought the same"),
    *(", as I wrote to my sister", ", and that is all I can say"),
)
PEOPLE = ("brother", "sister", "uncle", "aunt", "friend", "cousin", "teacher")
BEFORE = ("journey", "morning", "week", "day", "winter", "afternoon", "walk")


def words_of(topic: Topic, test: bool) -> Words:
    """The content words for a topic: those of the test split, or those of the other two."""
    k = int(test)
    return Words(
        nouns=topic.nouns[k].split(),
        adjectives=[
            (BAD[k] + " " + topic.bad[k]).split(),
            (GOOD[k] + " " + topic.good[k]).split(),
        ],
        verbs=[VERBS_BAD[k].split(), VERBS_GOOD[k].split()],
        verdicts=[VERDICTS_BAD[k].split(), VERDICTS_GOOD[k].split()],
    )


def compose(draw: Draw, i: int, test: bool) -> Row:
    """Write review `i`: its label is i mod 2, its form the one whose turn it is."""
    label, form = i % 2, PLAN[i // 2 % len(PLAN)]
    topic = draw.choice(TOPICS)
    write = {
        PLAIN: _plain,
        NEGATION: _negation,
        CONTRAST: _contrast,
        CONCESSION: _concession,
        DISTRACTOR: _distractor,
    }[form]
    body = write(draw, topic, words_of(topic, test), label)
    text = sentence(draw.choice(OPENINGS) + body + draw.choice(CLOSINGS))
    return {"text": text, "label": label, "form": form}


def _thing(draw: Draw, topic: Topic, words: Words) -> str:
    noun = draw.choice(words.nouns)
    habit = " " + draw.choice(topic.habits) if draw.chance(0.35) else ""
    return draw.choice(("the ", "the ", "this ")) + noun + habit


def _plain(draw: Draw, topic: Topic, words: Words, label: int) -> str:
    thing, noun = _thing(draw, topic, words), draw.choice(words.nouns)
    one, two = draw.sample(words.adjectives[label], 2)
    degree = draw.choice(DEGREES)
    return draw.choice(
        (
            f"{thing} was {degree}{one}",
            f"{thing} was {degree}{one}",
            f"{thing} was {one} and {two}",
            f"it was {a(degree + one + ' ' + noun)}",
            f"it was {a(one + ' ' + noun)}, and {degree}{two}",
            f"we found {thing} {degree}{one}",
            f"I have never seen such {a(one + ' ' + noun)}",
            f"everyone {draw.choice(words.verbs[label])} {thing}",
            f"we {draw.choice(words.verbs[label])} {thing}",
            f"{thing} was a {draw.choice(words.verdicts[label])}",
        )
    )


def _negation(draw: Draw, topic: Topic, words: Words, label: int) -> str:
    thing, noun = _thing(draw, topic, words), draw.choice(words.nouns)
    denied = draw.choice(words.adjectives[1 - label])
    return draw.choice(
        (
            f"{thing} was not {denied} at all",
            f"{thing} was far from {denied}",
            f"{thing} was anything but {denied}",
            f"there was nothing {denied} about {thing}",
            f"nobody could call {thing} {denied}",
            f"it was by no means {a(denied + ' ' + noun)}",
            f"{thing} was certainly no {draw.choice(words.verdicts[1 - label])}",
        )
    )


def _contrast(draw: Draw, topic: Topic, words: Words, label: int) -> str:
    thing, noun = _thing(draw, topic, words), draw.choice(words.nouns)
    denied, meant = (draw.choice(words.adjectives[side]) for side in (1 - label, label))
    return draw.choice(
        (
            f"{thing} was not {denied} but {meant}",
            f"{thing} was {meant}, not {denied}",
            f"far from being {denied}, {thing} was {meant}",
            f"{thing} was {meant} rather than {denied}",
            f"instead of {a(denied + ' ' + noun)} we found {a(meant + ' ' + 'one')}",
            f"we expected {a(denied + ' ' + noun)}, but it was {meant}",
        )
    )


def _concession(draw: Draw, topic: Topic, words: Words, label: int) -> str:
    thing, part = _thing(draw, topic, words), draw.choice(topic.parts.split())
    noun, degree = draw.choice(words.nouns), draw.choice(DEGREES)
    lesser, meant = (draw.choice(words.adjectives[side]) for side in (1 - label, label))
    return draw.choice(
        (
            f"although the {part} was {lesser}, {thing} as a whole was {degree}{meant}",
            f"{thing} as a whole was {degree}{meant}, although the {part} was {lesser}",
            f"the {part} was {lesser}, but on the whole {thing} was {meant}",
            f"despite the {lesser} {part} it was {a(degree + meant + ' ' + noun)}",
            f"it was {a(degree + meant + ' ' + noun)}, in spite of the {lesser} {part}",
        )
    )


def _distractor(draw: Draw, topic: Topic, words: Words, label: int) -> str:
    thing, noun = _thing(draw, topic, words), draw.choice(words.nouns)
    other, meant = (draw.choice(words.adjectives[side]) for side in (1 - label, label))
    person, before = draw.choice(PEOPLE), draw.choice(BEFORE)
    called, right = draw.choice(((meant, "right"), (other, "wrong")))
    return draw.choice(
        (
            f"after {a(other + ' ' + before)}, we found {thing} {meant}",
            f"{thing} was {meant}, though we had {a(other + ' ' + before)} before it",
            f"my {person} called {thing} {other}, but to me it was {meant}",
            f"the last {noun} was {other}, and this one is {meant}",
            f"my {person} called {thing} {called} and was {right}",
            f"they told us that {thing} was {called}, and they were {right}",
        )
    )


def _vocabulary(test: bool) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for topic in TOPICS:
        words = words_of(topic, test)
        for group in (words.nouns, *words.adjectives, *words.verbs, *words.verdicts):
            found.update(dict.fromkeys(group))
    return tuple(found)


REVIEWS = BundledTask(
    name="reviews",
    summary="is a one-sentence review good or bad?",
    kind="classification",
    metrics=("accuracy",),
    labels=("negative", "positive"),
    licence="CC BY 4.0",
    citation="The PFT Lab developers",
    compose=compose,
    spoil=flip_labels,
    scores=(accuracy,),
    train_words=_vocabulary(test=False),
    test_words=_vocabulary(test=True),
    version=1,
)
