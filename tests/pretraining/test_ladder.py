"""The ladder: what its models learn from, and that one command trains, adapts and keeps them."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_tiny_base
from tokenizers import Tokenizer

import pftlab as pft
from pftlab.bases import ladder as names
from pftlab.bases.history import read_history
from pftlab.bases.ladder import LADDER, Rung, checkpoint_name, rung_names
from pftlab.core.errors import Unavailable
from pftlab.pretraining import ladder
from pftlab.pretraining.corpus import Corpus
from pftlab.pretraining.ladder import climb, spread, train_rung, write_summary
from pftlab.pretraining.objectives import ContinuationObjective, MaskedObjective, SpanObjective
from pftlab.pretraining.preparation import prepare
from pftlab.pretraining.tokenizer import sentinel, train_tokenizer, with_sentinels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = pft.load_task("reviews", size="tiny").splits["train"]
    sentences = [row["text"] for row in rows]
    return [" ".join(sentences[i : i + 8]) for i in range(0, len(sentences), 8)]


@pytest.fixture(scope="module")
def tokenizer(texts: list[str]) -> Tokenizer:
    return train_tokenizer(texts, vocabulary=600)


@pytest.fixture(scope="module")
def corpus(texts: list[str], tokenizer: Tokenizer) -> Corpus:
    return prepare(texts, tokenizer, None)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def contains(row: list[int], part: list[int]) -> bool:
    return any(row[i : i + len(part)] == part for i in range(len(row) - len(part) + 1))


def test_span_corruption_loses_nothing(corpus: Corpus, tokenizer: Tokenizer) -> None:
    """Input and target, woven together at the sentinels, are a stretch of the corpus."""
    longer = with_sentinels(tokenizer)
    objective = SpanObjective(corpus, longer, 3 * 284, CPU)
    stream, end = corpus.stream("plain", CPU).tokens.tolist(), longer.token_to_id("[END]")
    marks = [longer.token_to_id(sentinel(number)) for number in range(objective.spans)]
    lengths = []
    for step in range(4):
        batch = objective.batch(step, generator(step))
        assert batch["ids"].shape == (3, 256) and batch["labels"].shape == (3, 58)
        for ids, labels in zip(batch["ids"].tolist(), batch["labels"].tolist(), strict=True):
            assert ids.pop() == labels.pop() == end
            assert [t for t in ids if t in marks] == [t for t in labels if t in marks] == marks
            places = [*(labels.index(mark) for mark in marks), len(labels)]
            spans = [labels[a + 1 : b] for a, b in pairwise(places)]
            lengths += [len(span) for span in spans]
            woven = []
            for token in ids:
                woven += spans[marks.index(token)] if token in marks else [token]
            assert len(woven) == 284 and contains(stream, woven)
    assert min(lengths) == 1 and max(lengths) > 5 and sum(lengths) == 43 * 12


def test_the_other_objectives(corpus: Corpus, tokenizer: Tokenizer) -> None:
    stream = corpus.stream("plain", CPU).tokens.tolist()
    continued = ContinuationObjective(corpus, tokenizer, 512, CPU).batch(0, generator())
    assert continued["ids"].shape == (2, 32) and continued["labels"].shape == (2, 224)
    assert (continued["ids"][:, -1] == tokenizer.token_to_id("[END]")).all()
    for ids, labels in zip(continued["ids"].tolist(), continued["labels"].tolist(), strict=True):
        assert contains(stream, ids[:-1]) and contains(stream, labels)

    batch = MaskedObjective(corpus, tokenizer, 512, CPU).batch(0, generator())
    assert batch["ids"].shape == (2, 256) and len(batch["masked"]) == int(0.15 * 512)
    restored = batch["ids"].flatten().scatter(0, batch["masked"], batch["labels"]).view(2, 256)
    for row in restored.tolist():
        assert row[0] == tokenizer.token_to_id("[CLS]")
        assert row[-1] == tokenizer.token_to_id("[SEP]") and contains(stream, row[1:-1])


@pytest.mark.parametrize("kind", ["decoder", "encoder", "seq2seq"])
def test_a_rung_is_trained_and_kept_on_the_way(
    kind: str, corpus: Corpus, texts: list[str], tokenizer: Tokenizer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name = f"{kind}-1m"
    monkeypatch.setitem(LADDER, name, Rung(kind, 1, 32, 2, longer=2 if kind == "seq2seq" else 1))
    documents = [{"text": texts[0], "source": "reviews"}]
    settings: dict[str, Any] = {"device": CPU, "steps": 4, "tokens": 300, "compiled": False}
    train_rung(name, corpus, documents, tokenizer, tmp_path, {"device": "CPU"}, **settings)
    model = pft.load_base(tmp_path / name)
    found = {"decoder": "GPT2LMHeadModel", "encoder": "BertForMaskedLM"}
    assert type(model).__name__ == found.get(kind, "T5ForConditionalGeneration")
    assert not model.pftlab_base.fresh
    early = load_file(tmp_path / "checkpoints" / name / "at-1-2" / "model.safetensors")
    late = load_file(tmp_path / name / "model.safetensors")
    assert any(not torch.equal(late[key], value) for key, value in early.items())
    assert ("bert.pooler.dense.weight" in late) is False  # nothing has trained one
    run = read_history(tmp_path / name)["runs"][-1]
    assert run["steps"] == run["planned_steps"] == (8 if kind == "seq2seq" else 4)
    measured = {"decoder": "bits_per_byte", "encoder": "bits_per_byte_masked"}.get(kind, "loss")
    assert run["log"][-1][f"held_out/{measured}"] > 0
    if kind == "seq2seq":
        adapted = read_history(tmp_path / f"{name}-lm")["runs"]
        assert [run["objective"] for run in adapted] == ["SpanObjective", "ContinuationObjective"]
        text = pft.load_tokenizer(tmp_path / f"{name}-lm")("A room", return_tensors="pt")
        assert text["input_ids"][0, -1] == model.config.eos_token_id
        assert model.generate(**text, max_new_tokens=3).shape[1] <= 4
    write_summary([name], {name: 0}, tmp_path)
    told = json.loads((tmp_path / "ladder.json").read_text())[name]
    assert told[name]["of"] == run["steps"] and len(told[name]["sha256"]) == 64
    assert f"checkpoints/{name}/at-1-4" in told


def test_an_encoder_learns_from_a_teacher(
    texts: list[str], tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LADDER, "encoder-1m", Rung("encoder", 1, 32, 2))
    teacher = Path(save_tiny_base(tmp_path / "teacher", positions=256))
    train_rung(
        "encoder-1m", prepare(texts, tokenizer, teacher), [{"text": texts[0]}], tokenizer,
        tmp_path, {}, device=CPU, steps=2, tokens=300, teacher=teacher, compiled=False,
    )  # fmt: skip
    run = read_history(tmp_path / "encoder-1m")["runs"][-1]
    assert run["teacher"] == "teacher" and run["log"][-1]["held_out/sentence"] > 0
    assert "bert.pooler.dense.weight" in load_file(tmp_path / "encoder-1m" / "model.safetensors")


def test_processes_are_tried_once_more_without_compiling(tmp_path: Path) -> None:
    def command(name: str, compiled: bool) -> list[str]:
        return [sys.executable, "-c", f"raise SystemExit({int(compiled or name == 'encoder-1m')})"]

    ladder.LOOK_AGAIN, before = 0.1, ladder.LOOK_AGAIN
    try:
        ended = climb(["decoder-1m", "encoder-1m"], command, tmp_path, cards=2)
    finally:
        ladder.LOOK_AGAIN = before
    assert ended == {"decoder-1m": 0, "encoder-1m": 1}
    with pytest.raises(Unavailable, match="encoder-1m could not be trained"):
        write_summary(list(ended), ended, tmp_path)


def test_the_longest_are_trained_apart() -> None:
    places = spread(list(LADDER), 4)
    assert set(places.values()) == {0, 1, 2, 3}
    assert places["decoder-60m"] != places["encoder-60m"]


def test_a_rung_that_is_not_there_tells_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PFTLAB_CACHE", str(tmp_path))
    assert len(set(rung_names())) == len(LADDER) + 2
    with pytest.raises(Unavailable, match="pftlab.pretraining ladder .* --rungs seq2seq-3m"):
        pft.load_base("seq2seq-3m-lm")
    with pytest.raises(Unavailable, match="at-1-4.* does not exist.* --rungs decoder-8m"):
        pft.load_base("decoder-8m-at-1-4")
    assert names.ladder_folder() == tmp_path / "ladder"


def test_checkpoints_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PFTLAB_CACHE", str(tmp_path))
    folder = names.ladder_folder() / "checkpoints" / "seq2seq-3m-lm" / checkpoint_name(1 / 16)
    folder.mkdir(parents=True)
    assert names.find_rung("seq2seq-3m-lm-at-1-16") == folder
    assert names.is_rung("decoder-8m") and not names.is_rung("decoder-9m-at-1-4")
