"""The encoder-decoder that ships: it fills spans, learns to write and to classify, is kept whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import pftlab as pft
from pftlab.bases import model_card
from pftlab.bases.cards import WEIGHTS
from pftlab.bases.history import read_history
from pftlab.pretraining.objectives import SpanObjective
from pftlab.training.held_out_texts import TEXTS

BASE = "tiny-seq2seq"
FAST: dict[str, Any] = {"batch_size": 8, "lr": 1e-2, "max_length": 96, "progress": False}
GAPS = (
    "He opened <extra_id_0> of the old house and looked <extra_id_1>",
    "<extra_id_0> the door <extra_id_1> into the dark room.",
)


def lora() -> Any:
    return pft.LoRA(rank=4).attach(pft.load_base(BASE), seed=0)


def logits_of(model: Any) -> torch.Tensor:
    source, target = (pft.load_tokenizer(BASE)(t, return_tensors="pt").input_ids for t in GAPS)
    with torch.no_grad():
        return model.eval()(input_ids=source, labels=target).logits


def test_it_was_pretrained_by_span_corruption() -> None:
    (run,) = read_history(WEIGHTS / BASE)["runs"]
    assert run["objective"] == SpanObjective.__name__ and run["teacher"] is None
    assert run["steps"] == run["log"][-1]["step"]
    tokenizer = pft.load_tokenizer(BASE)
    sentinels = [f"<extra_id_{number}>" for number in range(SpanObjective.spans)]
    ids = tokenizer.convert_tokens_to_ids(sentinels)
    assert len(set(ids)) == len(ids) and max(ids) < pft.load_base(BASE).config.vocab_size


@torch.no_grad()
def test_it_gives_back_what_was_taken_out_of_plain_texts() -> None:
    """Better than one that knows no text; and what it reads tells it something, if little."""
    model, tokenizer = pft.load_base(BASE), pft.load_tokenizer(BASE)
    given, wanted = [], []
    for text in TEXTS:
        words = tokenizer.tokenize(text)[:120]
        source, target = [], []
        for i in range(0, len(words), 20):
            mark = f"<extra_id_{i // 20}>"
            source += [*words[i : i + 17], mark]
            target += [mark, *words[i + 17 : i + 20]]
        source.append(tokenizer.eos_token)
        for where, tokens in ((given, source), (wanted, target)):
            where.append(torch.tensor([tokenizer.convert_tokens_to_ids(tokens)]))

    def loss(shift: int) -> float:
        total = 0.0
        for i, target in enumerate(wanted):
            source = given[(i + shift) % len(given)]
            logits = model(input_ids=source, labels=target).logits
            total += float(F.cross_entropy(logits[0], target[0], reduction="sum"))
        return total / sum(target.numel() for target in wanted)

    own, of_another = loss(0), loss(1)
    assert own < 5
    assert of_another > own + 0.05


def test_it_learns_to_write(tmp_path: Path) -> None:
    """From text to text, in seconds; then saved, loaded, merged and exported, it writes the same."""
    model, task = lora(), pft.load_task("data_to_text", size="tiny").subset(8, split="validation")
    run = pft.train(model, task, steps=30, evaluate_every=30, **FAST)
    assert run.metrics["validation_loss"] < pft.evaluate(pft.load_base(BASE), task, "validation")["loss"] - 1  # fmt: skip
    assert run.metrics["tokens"] > 1
    expected = logits_of(model)
    pft.save(model, tmp_path / "adapter")
    loaded = pft.load(pft.load_base(BASE), tmp_path / "adapter")
    assert torch.equal(logits_of(loaded), expected)
    pft.export(loaded, tmp_path / "plain", task=task, run=run)
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "plain")
    assert torch.allclose(logits_of(plain), expected, atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "plain").eos_token == "[END]"
    card = (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
    assert pft.BASES[BASE].sha256 in card
    pft.merge(loaded)
    assert torch.allclose(logits_of(loaded), expected, atol=1e-4)
    assert type(pft.predict(model, ["item: lamp | colour: red"])[0]) is str


@pytest.mark.parametrize("name", ["reviews", "entailment", "tagging"])
def test_it_takes_a_new_head(name: str) -> None:
    task = pft.load_task(name, size="tiny").subset(8, split="validation")
    model = pft.load_base(BASE, task.num_labels, task.model_task)
    assert all("class" in parameter for parameter in model.pftlab_base.fresh)
    before = {n: p.clone() for n, p in pft.LoRA(rank=4).attach(model, seed=0).named_parameters()}
    run = pft.train(model, task, steps=4, evaluate_every=4, **FAST)
    assert run.metrics["validation_loss"] > 0
    moved = {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}
    assert {n for n in moved if "pft_" not in n} <= set(model.pftlab_base.fresh)
    stacks = ("encoder.", "decoder.") if name != "tagging" else ("encoder.",)
    for stack in stacks:
        assert any(f"{stack}block.3." in n and "pft_" in n for n in moved), stack


def test_it_answers_in_words() -> None:
    task = pft.load_task("reviews", size="tiny").subset(8, split="validation")
    model = lora()
    run = pft.train(model, task.in_words(["bad", "good"]), steps=4, evaluate_every=4, **FAST)
    assert 0 <= run.metrics["accuracy"] <= 1


def test_the_card_says_what_the_recipe_takes_out() -> None:
    told = model_card.ROW, model_card.TAKEN, model_card.SPANS
    assert told == (SpanObjective.raw, SpanObjective.noise, SpanObjective.spans)
