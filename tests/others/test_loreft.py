"""LoReFT against its equation, word by word, and against the published counts."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import delta_at, states
from tiny import batch, perturb, ragged, tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank
from pftlab.others.loreft import Edit


def edited(unit: Any, h: torch.Tensor) -> torch.Tensor:
    """h + Rᵀ (W h + b − R h) for one word h (d,), with R from the free matrix by Gram-Schmidt."""
    rows: list[torch.Tensor] = []
    for free in unit.free:
        for row in rows:
            free = free - (free @ row) * row
        rows.append(free / free.norm())
    r = torch.stack(rows)
    return h + r.T @ (unit.source.weight @ h + unit.source.bias - r @ h)


def expected(delta: Edit, h: torch.Tensor, words: list[int], first: int, last: int) -> torch.Tensor:
    """One row h (T, d) with its words at the places `words`."""
    result = h.clone()
    units = delta.interventions
    for place in words[:first]:
        result[place] = edited(units[0], h[place])
    for place in words[len(words) - last :]:
        result[place] = edited(units[-1], h[place])
    return result


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
@pytest.mark.parametrize("left", [False, True])
def test_edits_the_first_and_last_words_of_each_text(name: str, left: bool) -> None:
    path = {"bert": "bert.encoder.layer.0", "gpt2": "transformer.h.0", "llama": "model.layers.0"}
    block = path.get(name, "encoder.block.0")
    inputs, _ = ragged(name, left)
    h = states(tiny(name), inputs, block)[block][1]
    model = pft.LoReFT(rank=2, first=2, last=1, tied=False, layers=(0,)).attach(tiny(name))
    perturb(model)
    delta = delta_at(model, block)
    after = states(model, inputs, block)[block][1]
    for row, mask in enumerate(inputs["attention_mask"]):
        words = mask.nonzero().flatten().tolist()
        assert torch.allclose(after[row], expected(delta, h[row], words, 2, 1), atol=1e-5)


@pytest.mark.parametrize(("count", "first", "last"), [(1, 0, 1), (3, 1, 2), (4, 2, 2), (9, 3, 4)])
def test_a_short_text_is_shared(count: int, first: int, last: int) -> None:
    delta = Edit(pft.LoReFT(rank=1, first=3, tied=False), 8, 4, None)  # type: ignore[arg-type]
    real = torch.tensor([[False] * 2 + [True] * count + [False]])
    at_first, at_last = delta.places(real)
    assert at_first[0].nonzero().flatten().tolist() == list(range(2, 2 + first))
    assert at_last[0].nonzero().flatten().tolist() == list(range(2 + count - last, 2 + count))


def test_the_rows_stay_orthonormal_in_training_copies_and_files(tmp_path: Path) -> None:
    model = pft.LoReFT(rank=3, first=2, last=2, tied=False).attach(tiny("bert"))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    start = next(d for *_, d in planted(model) if isinstance(d, Edit)).interventions[0]
    assert torch.allclose(start.rotation(), start.free, atol=1e-6)
    for _ in range(5):
        model(**batch("bert")).logits.pow(2).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    pft.save(model, tmp_path)
    for each in (
        model,
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        pft.load(tiny("bert"), tmp_path),
    ):
        units = [u for *_, d in planted(each) if isinstance(d, Edit) for u in d.interventions]
        assert len(units) == 4
        for unit in units:
            r = unit.rotation()
            assert torch.allclose(r @ r.T, torch.eye(3), atol=1e-5)
        assert torch.equal(each(**batch("bert")).logits, model(**batch("bert")).logits)


def test_only_the_subspace_is_edited() -> None:
    delta = Edit(pft.LoReFT(rank=2), 8, 0, None)  # type: ignore[arg-type]
    unit, h = delta.interventions[0], torch.randn(5, 8)
    r, new = unit.rotation(), h + unit(h)
    assert torch.allclose(new @ r.T, unit.source(h), atol=1e-5)
    rest = torch.eye(8) - r.T @ r
    assert torch.allclose(new @ rest, h @ rest, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "size", "count"),
    [
        (pft.LoReFT(rank=1, first=3, last=3, tied=False), "roberta-base", 36_888),
        (pft.LoReFT(rank=1, first=3, last=3), "roberta-base", 36_888 // 2),
        (pft.LoReFT(rank=1, first=3), "roberta-base", 36_888 // 2),
        (pft.LoReFT(rank=4, first=0, last=1, layers=(15,)), "llama-7b", 32_772),
    ],
)
def test_published_counts(method: pft.LoReFT, size: str, count: int) -> None:
    assert pft.count(method.attach(blank(size))).trainable == count


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_generation_edits_the_prompt_only(name: str) -> None:
    """With the edit of the prompt in the cache, later steps are those of the plain base."""
    model = pft.LoReFT(rank=2, first=2, last=2).attach(tiny(name))
    perturb(model)
    prompt = batch(name, size=1)
    with torch.no_grad():
        cache = model(**prompt, use_cache=True).past_key_values
        word = torch.tensor([[5]])
        after = model(input_ids=word, past_key_values=copy.deepcopy(cache)).logits
        plain = tiny(name)(input_ids=word, past_key_values=cache).logits
    assert torch.allclose(after, plain, atol=1e-5)


def test_an_encoder_decoder_model_is_edited_where_it_reads() -> None:
    model = pft.LoReFT(rank=2).attach(tiny("t5"))
    assert [path for path, *_ in planted(model)] == [
        "encoder",
        "encoder.block.0",
        "encoder.block.1",
    ]


def test_impossible_hyperparameters() -> None:
    with pytest.raises(pft.BadValue, match="at least one word"):
        pft.LoReFT(first=0, last=0)
    with pytest.raises(pft.BadValue, match="no 33 orthogonal directions in 32"):
        pft.LoReFT(rank=33).attach(tiny("bert"))


def test_a_prompt_that_is_inserted_behind_its_back_is_an_error() -> None:
    model = pft.LoReFT(rank=2).attach(tiny("gpt2"))
    pft.PromptTuning(length=3).attach(model)
    with pytest.raises(pft.Refused, match="Attach what inserts a prompt first"):
        model(**batch("gpt2"))
    model = pft.PromptTuning(length=3).attach(tiny("gpt2"))
    pft.LoReFT(rank=2).attach(model)
    model(**batch("gpt2"))


def test_a_decoder_that_classifies_by_its_last_word_is_edited_there_too() -> None:
    for name, last in (("gpt2-classification", 3), ("gpt2", 0), ("bert", 0), ("t5", 0)):
        model = pft.LoReFT(rank=2).attach(tiny(name))
        assert {d.last for *_, d in planted(model) if isinstance(d, Edit)} == {last}
