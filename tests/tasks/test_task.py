"""Encoding, batches and scores, with the tokenizers of BERT, GPT-2, Llama and T5."""

import pickle
import re

import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForTokenClassification, GPT2Config, GPT2LMHeadModel

from pftlab.core.errors import BadValue, UnknownName
from pftlab.tasks.encoding import SEPARATOR
from pftlab.tasks.metrics import METRICS
from pftlab.tasks.task import Task


def make(kind, rows, labels=("no", "yes"), metrics=("accuracy",)):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    dataset = Dataset.from_dict(columns)
    return Task(
        name="example",
        kind=kind,
        labels=tuple(labels),
        metrics={name: METRICS[name] for name in metrics},
        splits={"train": dataset, "test": dataset},
        source="here",
    )


SENTIMENT = [
    {"text": "the cat was good", "label": 1},
    {"text": "bread was bad but the cat was very good", "label": 1},
    {"text": "not good", "label": 0},
]
PAIRS = [{"text_a": "the cat sat on the mat", "text_b": "a cat sat", "label": 0}]
TAGGED = [
    {"tokens": ["the", "hats", "saw", "catsdog", "."], "tags": [0, 1, 0, 2, 0]},
    {"tokens": ["bread"], "tags": [1]},
]
TAGS = ("O", "B-x", "B-y")
RECORDS = [
    {
        "source": "item: hat | colour: red",
        "target": "the red hat was found.",
        "references": ["the red hat was found."],
    },
    {"source": "item: dog", "target": "a dog.", "references": ["a dog.", "the dog."]},
]


@pytest.fixture
def tokenizers(bert, gpt2, llama, t5):
    return {"bert": bert, "gpt2": gpt2, "llama": llama, "t5": t5}


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_single_texts(tokenizers, name):
    tokenizer = tokenizers[name]
    task = make("classification", SENTIMENT)
    examples = task.encode(tokenizer, "train")
    assert [e["labels"] for e in examples] == [1, 1, 0]
    assert [e["input_ids"] for e in examples] == [
        tokenizer(row["text"])["input_ids"] for row in SENTIMENT
    ]
    batch = task.collate(tokenizer)(examples)
    longest = max(len(e["input_ids"]) for e in examples)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, longest)
    assert batch["labels"].tolist() == [1, 1, 0]
    padding = (
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    )
    short = len(examples[2]["input_ids"])
    assert batch["input_ids"][2, short:].tolist() == [padding] * (longest - short)
    assert batch["attention_mask"].sum(1).tolist() == [len(e["input_ids"]) for e in examples]


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_two_texts_are_kept_apart(tokenizers, name):
    tokenizer = tokenizers[name]
    ids = make("pairs", PAIRS).encode(tokenizer, "train")[0]["input_ids"]
    between = {"bert": r"\[SEP\]", "gpt2": SEPARATOR, "llama": "<s>", "t5": "</s>"}[name]
    assert re.search(rf"the cat sat on the mat ?{between} ?a cat sat", tokenizer.decode(ids))


def test_long_texts_are_cut(bert):
    task = make("pairs", [{"text_a": "cat " * 50, "text_b": "the dog", "label": 0}])
    ids = task.encode(bert, "train", max_length=16)[0]["input_ids"]
    assert len(ids) == 16
    assert bert.decode(ids).endswith("[SEP] the dog [SEP]")


def test_regression_labels_stay_floats(bert):
    task = make("regression", [{**PAIRS[0], "label": 2.5}], labels=(), metrics=("pearson",))
    batch = task.collate(bert)(task.encode(bert, "train"))
    assert batch["labels"].dtype == torch.float32
    assert task.num_labels == 1 and task.model_task == "sequence_classification"


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_a_tag_goes_to_the_first_piece_of_its_word(tokenizers, name):
    tokenizer = tokenizers[name]
    task = make("tagging", TAGGED, labels=TAGS, metrics=("span_f1",))
    for example, row in zip(task.encode(tokenizer, "train"), TAGGED, strict=True):
        labels, ids = example["labels"], example["input_ids"]
        assert [label for label in labels if label != -100] == row["tags"]
        starts = [i for i, label in enumerate(labels) if label != -100]
        ends = [*starts[1:], len(labels)]
        for word, start, end in zip(row["tokens"], starts, ends, strict=True):
            piece = tokenizer.decode(ids[start:end], skip_special_tokens=True)
            assert piece.replace(" ", "") == word
    # The pieces are those that the running text would have.
    words = TAGGED[0]["tokens"][:4]
    inside = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    ids = task.encode(tokenizer, "train")[0]["input_ids"]
    assert any(ids[i : i + len(inside)] == inside for i in range(len(ids)))


def test_tags_are_cut_with_their_words(bert):
    row = {"tokens": ["cat"] * 30, "tags": [1] * 30}
    example = make("tagging", [row], labels=TAGS).encode(bert, "train", max_length=10)[0]
    assert example["labels"] == [-100] + [1] * 8 + [-100]


def test_a_token_classifier_takes_the_batch(bert):
    task = make("tagging", TAGGED, labels=TAGS, metrics=("span_f1",))
    config = BertConfig(
        vocab_size=len(bert),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        num_labels=task.num_labels,
    )
    batch = task.collate(bert)(task.encode(bert, "train"))
    output = BertForTokenClassification(config)(**batch)
    assert torch.isfinite(output.loss)
    predictions = output.logits.argmax(-1)
    assert 0 <= task.score(predictions, batch["labels"])["span_f1"] <= 1
    assert task.model_task == "token_classification"


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_learns_only_the_target(tokenizers, name):
    tokenizer = tokenizers[name]
    task = make("generation", RECORDS, labels=(), metrics=("bleu",))
    assert task.num_labels is None and task.model_task is None
    for example, prompt, row in zip(
        task.encode(tokenizer, "train"), task.prompts(tokenizer, "train"), RECORDS, strict=True
    ):
        ids, labels = example["input_ids"], example["labels"]
        masked = labels.count(-100)
        assert labels[:masked] == [-100] * masked
        assert labels[masked:] == ids[masked:]
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[masked:-1]).strip() == row["target"]
        assert tokenizer.decode(ids[:masked], skip_special_tokens=True).strip() == row["source"]
        assert prompt["input_ids"] == ids[:masked]
        assert "labels" not in prompt
    assert (ids[0] == tokenizer.bos_token_id) == (name == "llama")


def test_padding_of_targets_and_prompts(gpt2):
    task = make("generation", RECORDS, labels=(), metrics=("bleu",))
    batch = task.collate(gpt2)(task.encode(gpt2, "train"))
    assert batch["labels"][1, -1] == -100 and batch["attention_mask"][1, -1] == 0
    prompts = task.collate(gpt2)(task.prompts(gpt2, "train"))
    assert prompts["attention_mask"][1, 0] == 0 and prompts["attention_mask"][1, -1] == 1
    config = GPT2Config(vocab_size=len(gpt2), n_embd=8, n_layer=1, n_head=1, n_positions=128)
    assert torch.isfinite(GPT2LMHeadModel(config)(**batch).loss)


def test_an_encoder_decoder_gets_source_and_target(t5, gpt2):
    task = make("generation", RECORDS, labels=(), metrics=("bleu",))
    example = task.encode(t5, "train")[0]
    assert example["input_ids"] == t5(RECORDS[0]["source"])["input_ids"]
    assert example["labels"] == t5(RECORDS[0]["target"])["input_ids"]
    assert example["labels"][-1] == t5.eos_token_id
    batch = task.collate(t5)(task.encode(t5, "train"))
    assert batch["labels"][1, -1] == -100
    assert batch["labels"].shape[1] != batch["input_ids"].shape[1]
    # The caller who knows the model may say what it is.
    source = task.encode(gpt2, "train", encoder_decoder=True)[0]["input_ids"]
    assert source == gpt2(RECORDS[0]["source"])["input_ids"]


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_a_target_is_never_cut(tokenizers, name):
    tokenizer = tokenizers[name]
    long = {**RECORDS[0], "source": "item: hat " * 40}
    task = make("generation", [long], labels=(), metrics=("bleu",))
    example = task.encode(tokenizer, "train", max_length=48)[0]
    assert len(example["input_ids"]) == 48
    target = [label for label in example["labels"] if label != -100]
    assert tokenizer.decode(target, skip_special_tokens=True).strip() == long["target"]
    # The error names a length that works.
    long_target = make("generation", [{**RECORDS[0], "target": "a dog " * 40}], labels=())
    with pytest.raises(BadValue) as caught:
        long_target.encode(tokenizer, "train", max_length=30)
    needed = int(str(caught.value).split("max_length=")[1].split()[0])
    assert long_target.encode(tokenizer, "train", max_length=needed)
    with pytest.raises(BadValue):
        long_target.encode(tokenizer, "train", max_length=needed - 1)


def test_unsuitable_tokenizers_and_lengths(bert):
    with pytest.raises(BadValue, match="end-of-text"):
        make("generation", RECORDS, labels=()).encode(bert, "train")
    with pytest.raises(BadValue, match="max_length=3 "):
        make("classification", SENTIMENT).encode(bert, "train", max_length=3)
    bert.model_max_length, before = 64, bert.model_max_length
    try:
        with pytest.raises(BadValue, match="8 to 64"):
            make("classification", SENTIMENT).encode(bert, "train", max_length=65)
    finally:
        bert.model_max_length = before
    with pytest.raises(BadValue, match="only generation has"):
        make("classification", SENTIMENT).prompts(bert, "train")


def test_words_of_which_a_tokenizer_leaves_nothing(bert):
    task = make("tagging", [{"tokens": ["\u0301", "cat"], "tags": [0, 1]}], labels=TAGS)
    labels = task.encode(bert, "train")[0]["labels"]  # an accent alone is stripped
    assert [label for label in labels if label != -100] == [1]
    task = make("tagging", [{"tokens": ["\u0301"], "tags": [0]}], labels=TAGS)
    with pytest.raises(BadValue, match="leaves no token"):
        task.encode(bert, "train")


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
@pytest.mark.parametrize("kind", ["classification", "pairs"])
def test_a_text_without_tokens_is_still_a_row(tokenizers, name, kind):
    tokenizer = tokenizers[name]
    columns = ("text",) if kind == "classification" else ("text_a", "text_b")
    task = make(kind, [{**dict.fromkeys(columns, ""), "label": 1}])
    example = task.encode(tokenizer, "train")[0]
    assert len(example["input_ids"]) == len(example["attention_mask"]) > 0
    assert set(example["attention_mask"]) == {1}
    assert task.collate(tokenizer)([example])["input_ids"].shape[1] > 0


def test_positions_of_the_model(bert):
    task = make("classification", SENTIMENT)
    with pytest.raises(BadValue, match="takes 8 to 16 tokens"):
        task.encode(bert, "train", positions=16)
    assert task.encode(bert, "train", max_length=16, positions=16)


def test_no_token_to_pad_with():
    class Bare:
        pad_token_id = eos_token_id = None

    with pytest.raises(BadValue, match="pad_token"):
        make("classification", SENTIMENT).collate(Bare())


def test_limit_and_unknown_split(bert):
    task = make("classification", SENTIMENT)
    assert len(task.encode(bert, "train", limit=2)) == 2
    assert len(task.encode(bert, "train", limit=20)) == 3
    assert task.references("train", limit=2) == [1, 1]
    with pytest.raises(UnknownName, match="'dev'.*train, test"):
        task.encode(bert, "dev")


def test_scores():
    task = make("classification", SENTIMENT, metrics=("matthews", "accuracy"))
    assert task.metric == "matthews"
    scores = task.score(torch.tensor([1, 0, 0]), task.references("train"))
    assert scores["accuracy"] == pytest.approx(2 / 3) and set(scores) == {"matthews", "accuracy"}
    with pytest.raises(BadValue, match="2 predictions were given for 3"):
        task.score([1, 0], [1, 0, 0])
    with pytest.raises(BadValue, match="at least one"):
        task.score([], [])

    tagging = make("tagging", TAGGED, labels=TAGS, metrics=("token_accuracy",))
    assert tagging.score([[1, 1, 2], [0, 0, 0]], [[1, -100, 0], [0, -100, -100]]) == {
        "token_accuracy": pytest.approx(2 / 3)
    }
    assert tagging.score(tagging.references("train"), tagging.references("train")) == {
        "token_accuracy": 1
    }

    generation = make("generation", RECORDS, labels=(), metrics=("rouge_l",))
    assert generation.references("train")[1] == ["a dog.", "the dog."]
    assert generation.score(
        ["the red hat was found.", "the dog."], generation.references("train")
    ) == {"rouge_l": 1}
    assert generation.score(["a dog"], ["a dog"]) == {"rouge_l": 1}


def test_fingerprint_is_of_the_content():
    task = make("classification", SENTIMENT)
    assert len(task.fingerprint) == 64
    assert task.fingerprint == make("classification", SENTIMENT).fingerprint
    changed = [*SENTIMENT[:2], {**SENTIMENT[2], "label": 1}]
    assert make("classification", changed).fingerprint != task.fingerprint
    assert task.subset(2).fingerprint != task.fingerprint


def test_a_subset_is_balanced_nested_and_seeded():
    rows = [{"text": f"text {i}", "label": int(i < 15)} for i in range(100)]
    task = make("classification", rows)
    small, large = task.subset(10, seed=1), task.subset(20, seed=1)
    assert sorted(small.references("train")) == [0] * 5 + [1] * 5
    assert set(small.splits["train"]["text"]) < set(large.splits["train"]["text"])
    assert sorted(task.subset(50).references("train")).count(1) == 15  # all there are
    assert task.subset(10, seed=2).fingerprint != small.fingerprint
    assert task.subset(10, seed=1).fingerprint == small.fingerprint
    assert len(small.splits["test"]) == 100
    assert len(task.subset(100).splits["train"]) == 100
    assert "10 rows of train drawn with seed 1." in small.notes
    for n in (0, 101):
        with pytest.raises(BadValue, match="between 1 and 100"):
            task.subset(n)
    assert len(make("tagging", TAGGED, labels=TAGS).subset(1).splits["train"]) == 1


def test_a_task_can_be_pickled(bert):
    task = pickle.loads(pickle.dumps(make("classification", SENTIMENT)))
    collate = pickle.loads(pickle.dumps(task.collate(bert)))
    assert collate(task.encode(bert, "train"))["labels"].tolist() == [1, 1, 0]
    assert repr(task) == "Task('example', classification, train 3, test 3, metric 'accuracy')"
