"""What a base forgets: measured with its own head, on fixed texts, against itself."""

from typing import Any

import pytest
import torch
from tiny import save_tiny_base
from torch.nn import functional as F

import pftlab as pft
from pftlab.testing.models import perturb
from pftlab.training import Forgetting, measure_forgetting
from pftlab.training.held_out_texts import TEXTS

CLASSIFIERS = [dict(num_labels=2), dict(num_labels=3, task="token_classification")]


@torch.no_grad()
def test_a_decoder_predicts_every_token_of_every_text() -> None:
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-decoder"), seed=0)
    tokenizer = pft.load_tokenizer(model)
    losses = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=128)["input_ids"]
        logits = model(input_ids=ids).logits[0]
        losses += [-logits[i].log_softmax(-1)[ids[0, i + 1]] for i in range(ids.shape[1] - 1)]
    expected = float(torch.stack(losses).mean())
    measured = measure_forgetting(model)
    assert measured.metric == "lm_loss"
    assert measured.before == pytest.approx(expected, rel=1e-5)
    assert measured.after == measured.before


@torch.no_grad()
def test_an_encoder_fills_in_every_seventh_word() -> None:
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-encoder"), seed=0)
    tokenizer = pft.load_tokenizer(model)
    losses = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=128)["input_ids"]
        places = list(range(1, ids.shape[1] - 1, 7))  # [CLS] and [SEP] are no words
        masked = ids.clone()
        masked[0, places] = tokenizer.mask_token_id
        logits = model(input_ids=masked).logits[0, places]
        losses.append(F.cross_entropy(logits, ids[0, places], reduction="none"))
    expected = float(torch.cat(losses).mean())
    measured = measure_forgetting(model)
    assert measured.metric == "masked_lm_loss"
    assert measured.before == pytest.approx(expected, rel=1e-5)


def spans_taken_out(text: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    """The input and the target, by slices: of every twenty tokens, from the end, the last three."""
    ids = tokenizer(text, truncation=True, max_length=128)["input_ids"][:-1]
    source, target = [], []
    ends = range(len(ids), 0, -20)
    for number, stop in enumerate(reversed(ends)):
        sentinel = tokenizer.convert_tokens_to_ids(f"<extra_id_{number}>")
        start = max(0, stop - 20)
        cut = max(start, stop - 3)
        source += [*ids[start:cut], sentinel]
        target += [sentinel, *ids[cut:stop]]
    return [*source, tokenizer.eos_token_id], target


@torch.no_grad()
def test_an_encoder_decoder_gives_the_spans_that_were_taken_out() -> None:
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-seq2seq"), seed=0)
    tokenizer = pft.load_tokenizer(model)
    losses = []
    for text in TEXTS:
        source, target = (torch.tensor([ids]) for ids in spans_taken_out(text, tokenizer))
        logits = model(input_ids=source, labels=target).logits[0]
        losses.append(F.cross_entropy(logits, target[0], reduction="none"))
    expected = float(torch.cat(losses).mean())
    measured = measure_forgetting(model)
    assert measured.metric == "span_loss"
    assert measured.before == pytest.approx(expected, rel=1e-5)
    assert measured.after == measured.before


@pytest.mark.parametrize("head", CLASSIFIERS, ids=["classes", "tags"])
def test_a_classifier_of_an_encoder_decoder_is_read_through_its_base(head: Any) -> None:
    """What tags words has no decoder: the base's own writes behind its encoder."""
    words = pft.LoRA(rank=2).attach(pft.load_base("tiny-seq2seq"), seed=0)
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-seq2seq", **head), seed=0)
    perturb_planted(words)
    planted = {name: p.data for name, p in words.named_parameters() if "pft_" in name}
    for name, parameter in model.named_parameters():
        if "pft_" in name:
            parameter.data.copy_(planted.pop(name.removeprefix("transformer.")))
    assert all(name.startswith("decoder.") for name in planted) and bool(planted) == (
        "task" in head
    )
    for tensor in planted.values():
        tensor.zero_()
    expected, measured = measure_forgetting(words), measure_forgetting(model)
    assert measured.metric == expected.metric == "span_loss"
    assert measured.before == pytest.approx(expected.before, rel=1e-5)
    assert measured.after == pytest.approx(expected.after, rel=1e-5)
    assert measured.after != pytest.approx(measured.before, rel=1e-4)


def test_an_encoder_decoder_without_sentinels_has_its_drift_measured() -> None:
    """What its base was trained to write cannot be asked for."""
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-seq2seq"), seed=0)
    tokenizer = pft.load_tokenizer("tiny-decoder")  # the same words
    perturb_planted(model)
    measured = measure_forgetting(model, tokenizer=tokenizer)
    assert measured.metric == "drift" and measured.before == 0 < measured.after


@pytest.mark.parametrize("base", ["tiny-encoder", "tiny-decoder"])
@pytest.mark.parametrize("head", CLASSIFIERS, ids=["classes", "tags"])
def test_a_classifier_is_read_through_the_head_of_its_base(base: str, head: Any) -> None:
    words = pft.LoRA(rank=2).attach(pft.load_base(base), seed=0)
    model = pft.LoRA(rank=2).attach(pft.load_base(base, **head), seed=0)
    for each in (words, model):
        perturb_planted(each)
    expected, measured = measure_forgetting(words), measure_forgetting(model)
    assert measured.metric == expected.metric
    assert measured.before == pytest.approx(expected.before, rel=1e-5)
    assert measured.after == pytest.approx(expected.after, rel=1e-5)
    assert measured.after != pytest.approx(measured.before, rel=1e-3)


def perturb_planted(model: Any) -> None:
    """Move what is planted and leave the head: models with two heads move alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pft_" in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("position", [0, 1])
def test_a_prompt_takes_no_place_among_the_words(position: int) -> None:
    """In front of [CLS] it is kept in what the classifier reads."""
    method = pft.PromptTuning(length=3, position=position)
    words = method.attach(pft.load_base("tiny-encoder"), seed=0)
    model = method.attach(pft.load_base("tiny-encoder", num_labels=2), seed=0)
    expected = measure_forgetting(words)
    assert measure_forgetting(model).after == pytest.approx(expected.after, rel=1e-5)


def test_full_fine_tuning_forgets_and_the_base_is_there_for_comparison() -> None:
    model = pft.FullFineTuning().attach(pft.load_base("tiny-encoder", num_labels=2))
    before = measure_forgetting(model).before
    perturb(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    measured = measure_forgetting(model)
    assert measured.before == before and measured.after > before + 1
    assert model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_without_a_head_for_words_the_drift_of_states_is_measured(tmp_path: Any) -> None:
    base = save_tiny_base(tmp_path)  # its files hold no such head
    model = pft.LoRA(rank=2).attach(pft.load_base(base, num_labels=2), seed=0)
    assert measure_forgetting(model) == Forgetting("drift", 0.0, pytest.approx(0.0, abs=1e-6))
    for seed in range(20):
        perturb(model, seed)
    ids = pft.load_tokenizer(base)(list(TEXTS), truncation=True, max_length=32)["input_ids"]
    cosines = []
    for row in map(torch.tensor, ids):
        after = model.bert(input_ids=row[None]).last_hidden_state
        with pft.disabled(model):
            before = model.bert(input_ids=row[None]).last_hidden_state
        cosines.append(F.cosine_similarity(before, after, dim=-1)[0])
    expected = 1 - float(torch.cat(cosines).mean())
    assert measure_forgetting(model).after == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-2


def test_random_weights_have_nothing_to_forget() -> None:
    model = pft.random_weights(pft.load_base("tiny-encoder", num_labels=2))
    assert measure_forgetting(pft.LoRA(rank=2).attach(model)) is None


def test_a_plain_model_is_refused() -> None:
    with pytest.raises(pft.Refused, match="attached"):
        measure_forgetting(pft.load_base("tiny-encoder", num_labels=2))


def test_nothing_is_drawn() -> None:
    model = pft.LoRA(rank=2).attach(pft.load_base("tiny-encoder", num_labels=2), seed=0)
    state = torch.get_rng_state()
    first = measure_forgetting(model)
    assert torch.equal(state, torch.get_rng_state())
    assert measure_forgetting(model) == first


def test_fine_tuning_measures_it_when_asked() -> None:
    task = pft.load_task("reviews", size="tiny")
    arguments: Any = dict(steps=1, batch_size=4, test=False, progress=False)
    done = pft.fine_tune("tiny-encoder", pft.LoRA(rank=2), task, forgetting=True, **arguments)
    assert done.forgetting == measure_forgetting(done.model)
    assert done.forgetting.metric == "masked_lm_loss"
    done = pft.fine_tune("tiny-encoder", pft.LoRA(rank=2), task, **arguments)
    assert done.forgetting is None
