"""The generated tasks: the same everywhere, balanced, without leaks, and not for a bag of words."""

import re
import subprocess
import sys

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from pftlab.core.errors import UnknownName
from pftlab.tasks import TASKS, load_task
from pftlab.tasks.bundled import BUNDLED
from pftlab.tasks.bundled.card import SIZES
from pftlab.tasks.bundled.data_to_text import VALUES, read, slot_errors
from pftlab.tasks.bundled.english import a
from pftlab.tasks.draw import Draw

NAMES = [card.name for card in BUNDLED]
CLASSIFIED = ["reviews", "entailment"]


@pytest.fixture(scope="module")
def tasks():
    return {name: load_task(name) for name in NAMES}


# A change of any generator changes these, and must raise its version with them.
FINGERPRINTS = {
    "reviews": "9d1d8b9140c9e8a04aa6ebbc8ad0ae9da150540e656fdaa859086172bff56749",
    "entailment": "cb12c9e519a461ca6d44bc8698832016a58dec22154b3f4fc2a96ab9606fc8a6",
    "tagging": "0ba125857ae4571640780ee9717bc0c92afd6f1425bbe5cfe57b990bc89a8114",
    "data_to_text": "3bfabe854c845d3d38a24c98213b129b90b05a8e0ba3fc429e2bfce10bc540f1",
}


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint(name):
    assert load_task(name, size="tiny").fingerprint == FINGERPRINTS[name]
    assert TASKS[name].version == 1


def test_the_draw_is_the_same_everywhere():
    draw = Draw("golden", 7)
    assert [draw.below(1000) for _ in range(4)] == [877, 676, 308, 298]
    assert draw.shuffled(range(8)) == [3, 6, 4, 0, 2, 1, 7, 5]
    assert draw.choice("abcdef") + draw.choice("abcdef") == "ec"
    assert sorted(Draw("x").shuffled(range(50))) == list(range(50))
    assert Draw("x", 1).below(10**9) != Draw("x", 2).below(10**9)


def test_no_dependence_on_the_hash_seed():
    code = "from pftlab.tasks.bundled import BUNDLED; print([c.rows('test', 9, 0, set()) for c in BUNDLED])"
    expected = str([card.rows("test", 9, 0, set()) for card in BUNDLED])
    for seed in "12":
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert run.stdout.strip() == expected, run.stderr


def words(row):
    if "tokens" in row:
        return {token.lower() for token in row["tokens"]}
    texts = [v for k, v in row.items() if isinstance(v, str) and k != "form"]
    return set(re.findall(r"\w+", " ".join(texts).lower()))


@pytest.mark.parametrize("name", NAMES)
def test_the_test_split_has_words_of_its_own(tasks, name):
    task, card = tasks[name], TASKS[name]
    seen = {word.lower() for word in card.train_words}
    held_out = {word.lower() for word in card.test_words}
    assert not seen & held_out and len(held_out) > 25
    used = {
        split: set().union(*(words(row) for row in rows)) for split, rows in task.splits.items()
    }
    assert not used["train"] & held_out and not used["validation"] & held_out
    assert not used["test"] & seen
    assert seen <= used["train"] and held_out <= used["test"]  # the lists are the words in use
    # Whatever else the test split says, the training split says too.
    assert used["test"] - held_out <= load_words(name)


def load_words(name):
    return set().union(*(words(row) for row in load_task(name, size="large").splits["train"]))


@pytest.mark.parametrize("name", NAMES)
def test_no_row_occurs_twice(name):
    task = load_task(name, size="large")
    assert len(task.splits["train"]) == 8000
    inputs = [
        str([row.get(c) for c in ("text", "text_a", "text_b", "tokens", "source")])
        for rows in task.splits.values()
        for row in rows
    ]
    assert len(set(inputs)) == len(inputs)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_seeds(name):
    for size in ("tiny", "small"):
        task = load_task(name, size=size)
        assert len(task.splits["train"]) == SIZES[size]
        assert (len(task.splits["validation"]), len(task.splits["test"])) == (500, 1000)
        # Learning curves are measured on one test split.
        assert task.splits["test"].to_list() == load_task(name).splits["test"].to_list()
    assert load_task(name, size="tiny", seed=1).fingerprint != FINGERPRINTS[name]
    with pytest.raises(UnknownName, match="tiny, small, default, large"):
        load_task(name, size="huge")


@pytest.mark.parametrize("name", CLASSIFIED)
def test_labels_are_balanced_in_every_form(tasks, name):
    for split in ("validation", "test"):
        counts = {}
        for row in tasks[name].splits[split]:
            counts.setdefault(row["form"], [0, 0])[row["label"]] += 1
        assert len(counts) == 5
        assert all(no == yes for no, yes in counts.values())


@pytest.mark.parametrize("name", CLASSIFIED)
def test_label_noise_is_as_stated(tasks, name):
    card = TASKS[name]
    clean = BUNDLED[NAMES.index(name)].rows("train", 1000, 0, set())
    noisy = tasks[name].splits["train"].to_list()
    flipped = [old["label"] for old, new in zip(clean, noisy, strict=True) if old != new]
    assert len(flipped) == round(card.noise * 1000) == 30
    assert sum(flipped) == 15
    assert tasks[name].noise == 0.03 and tasks[name].best_score == 1


def inputs(rows):
    if "text" in rows.column_names:
        return rows["text"][:]
    return [
        f"{first} {second}" for first, second in zip(rows["text_a"], rows["text_b"], strict=True)
    ]


@pytest.mark.parametrize("name", CLASSIFIED)
@pytest.mark.parametrize("size", ["tiny", "default"])
def test_a_bag_of_words_is_near_chance(name, size):
    task = load_task(name, size=size)
    counts = CountVectorizer(token_pattern=r"\w+", ngram_range=(1, 2))
    model = LogisticRegression(max_iter=300).fit(
        counts.fit_transform(inputs(task.splits["train"])), task.references("train")
    )
    predictions = model.predict(counts.transform(inputs(task.splits["test"])))
    assert 0.42 <= task.score(predictions, task.references("test"))["accuracy"] <= 0.58


def test_with_the_meaning_of_words_reviews_can_be_solved(tasks):
    """A reader who knows good words from bad gets the plain reviews right, and no negated one."""
    from pftlab.tasks.bundled import reviews

    good, bad = set(), set()
    for topic in reviews.TOPICS:
        known = reviews.words_of(topic, test=True)
        for group in (known.adjectives, known.verbs, known.verdicts):
            bad |= set(group[0])
            good |= set(group[1])
    assert not good & bad
    right = {}
    for row in tasks["reviews"].splits["test"]:
        balance = len(words(row) & good) - len(words(row) & bad)
        right.setdefault(row["form"], []).append(
            (balance > 0) == bool(row["label"]) and balance != 0
        )
    assert all(right["plain"]) and not any(right["negation"])
    assert sum(right["contrast"]) + sum(right["concession"]) == 0


def test_entailment_follows_from_kinds(tasks):
    from pftlab.tasks.bundled.entailment import KINDS

    for split, kinds in (("validation", KINDS[0]), ("test", KINDS[1])):
        members = {noun: kind for kind, nouns in kinds.items() for noun in nouns.split()}
        for row in tasks["entailment"].splits[split]:
            first, second = words({"text": row["text_a"]}), words({"text": row["text_b"]})
            if row["form"] == "plain":
                one, other = ({*members, *kinds} & side for side in (first, second))
                follows = members.get(*one) == next(iter(other))
                assert row["label"] == int(not follows)
            if row["form"] == "only":
                (noun,), (kind,) = first & set(members), second & set(kinds)
                assert row["label"] == int(members[noun] == kind)


def test_tags_are_those_of_the_nouns(tasks):
    from pftlab.tasks.bundled.tagging import CLASSES

    task = tasks["tagging"]
    kinds = {noun: kind for kind, pair in CLASSES.items() for noun in pair[1].split()}
    counts = dict.fromkeys(CLASSES, 0)
    for row in task.splits["test"]:
        tags = [task.labels[tag] for tag in row["tags"]]
        for i, (token, tag) in enumerate(zip(row["tokens"], tags, strict=True)):
            if tag.startswith("I-"):
                assert tags[i - 1][2:] == tag[2:]
            if token in kinds and tag != "O":
                assert tag[2:] == kinds[token]
                counts[kinds[token]] += 1
                assert i + 1 == len(tags) or tags[i + 1] == "O"
            if token in kinds and tag == "O":  # denied, and so its adjectives are not marked either
                assert row["form"] == "negation" and tags[i - 1] == "O"
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_tag_noise_is_as_stated(tasks):
    clean = BUNDLED[NAMES.index("tagging")].rows("train", 1000, 0, set())
    noisy = tasks["tagging"].splits["train"].to_list()
    starts = changed = 0
    for old, new in zip(clean, noisy, strict=True):
        for before, after in zip(old["tags"], new["tags"], strict=True):
            assert before % 2 == after % 2 and bool(before) == bool(after)  # B stays B, O stays O
            starts += before % 2
            changed += before % 2 and before != after
    assert changed == round(0.03 * starts)


class TestSlots:
    def test_every_text_says_its_record(self, tasks):
        for split in ("validation", "test"):
            for row in tasks["data_to_text"].splits[split]:
                record = dict(pair.split(": ") for pair in row["source"].split(" | "))
                meant = {name: {value.lower()} for name, value in record.items()}
                assert all(read(text) == meant for text in row["references"])
                assert 2 <= len(meant) <= 7

    def test_noise_is_as_stated(self, tasks):
        wrong = 0
        for row in tasks["data_to_text"].splits["train"]:
            record = dict(pair.split(": ") for pair in row["source"].split(" | "))
            wrong += read(row["target"]) != {k: {v.lower()} for k, v in record.items()}
        assert wrong == 30

    REFERENCE = (
        "On Monday the nurse found a small red hat at the station. Nobody has come for it yet."
    )

    @pytest.mark.parametrize(
        ("text", "errors"),
        [
            (REFERENCE, (0, 0, 0)),
            ("the nurse found a hat, small and red, at the station on monday; not claimed", (0, 0, 0)),
            ("The nurse found a small red hat at the station. Nobody has come for it.", (1, 0, 0)),
            ("On Monday the nurse found a small blue hat at the station. It was never claimed.", (0, 1, 0)),
            ("On Monday the nurse found a small red hat at the station. It has been claimed.", (0, 1, 0)),
            ("On Monday the nurse and the sailor found a small red hat at the station. No owner came; unclaimed.", (0, 0, 1)),
            ("A key.", (6, 1, 0)),
            ("", (7, 0, 0)),
        ],
    )  # fmt: skip
    def test_errors(self, text, errors):
        counted = slot_errors(text, self.REFERENCE)
        assert (counted["missing"], counted["wrong"], counted["invented"]) == errors
        assert counted["slots"] == 7

    def test_an_invented_slot(self):
        assert slot_errors("A hat was found on Friday.", "A hat was found.") == {
            "slots": 1,
            "missing": 0,
            "wrong": 0,
            "invented": 1,
        }

    def test_scores(self, tasks):
        task = tasks["data_to_text"]
        references = task.references("test")
        perfect = task.score([texts[-1] for texts in references], references)
        assert perfect == {
            "slot_accuracy": 1,
            "slot_error_rate": 0,
            "missing": 0,
            "wrong": 0,
            "invented": 0,
            "bleu": pytest.approx(1),
        }
        one = task.score(["A red key was found on Sunday."], ["A red hat was found at the park."])
        assert one["slot_error_rate"] == pytest.approx(3 / 3)
        assert one["missing"] == one["wrong"] == one["invented"] == pytest.approx(1 / 3)
        assert task.score(["Monday Friday red key park nurse"], ["A hat."])["slot_accuracy"] == 0
        assert task.metric == "slot_accuracy"

    def test_values_belong_to_one_attribute(self):
        values = [value for pair in VALUES.values() for group in pair for value in group.split()]
        assert len(set(values)) == len(values)


def test_articles():
    assert [a(word) for word in ("old hat", "hat", "useful hat", "honest man", "hour", "umbrella")] == [
        "an old hat", "a hat", "a useful hat", "an honest man", "an hour", "an umbrella"
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_english_is_well_formed(tasks, name):
    for row in tasks[name].splits["test"]:
        text = " ".join(
            row.get("tokens") or [row.get(c, "") for c in ("text", "text_a", "text_b", "target")]
        )
        text = text.strip()
        assert text[0].isupper() and text[-1] == "."
        assert "  " not in text and not re.search(r"\b[Aa] [aeio]\w", text)
        assert not re.search(r"\b[Aa]n [^aeiouh]\w", text)


def test_importing_tasks_is_light():
    code = (
        "import sys, pftlab.tasks; pftlab.tasks.TASKS['reviews'];"
        "print(sorted({'torch', 'datasets', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
