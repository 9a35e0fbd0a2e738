"""Several examples in a row: the losses and gradients of rows of their own, or a refusal."""

from typing import Any

import pytest
import torch
from test_evaluation import bytes_tokenizer
from tiny import method, perturb, tiny
from training_setup import state_of

import pftlab as pft
from pftlab.core.ports.steps import announced
from pftlab.testing import models
from pftlab.training.data import TrainingData
from pftlab.training.packing import check_packing, packed, share_rows
from pftlab.training.processes import Processes

ROWS = [{"source": "ab"[: 1 + i % 2] * (1 + i), "target": "cdef"[: 1 + i % 4]} for i in range(8)]
DECODERS = [name for name in models.MODELS if models.task(name) == "causal_lm"]
#: What acts at the beginning or the end of a text, and so cannot be in the middle of a row.
WITH_ENDS = {
    "prompt_tuning",
    "p_tuning",
    "multitask_prompt_tuning",
    "loreft",
}
PACKED = ["lora", "prefix_tuning", "p_tuning_v2", "llama_adapter", "houlsby", "ia3",
          "parallel"]  # fmt: skip


def writing() -> pft.Task:
    return pft.load_task({"train": ROWS, "validation": ROWS[:2], "test": ROWS[:2]})


def model_of(name: str, what: str | None = None) -> tuple[Any, Any]:
    model, tokenizer = tiny(name), bytes_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    if what is not None:
        method(what).attach(model)
        perturb(model)
    return model, tokenizer


def step_of(model: Any, tokenizer: Any, pack: bool, accumulate: int = 1) -> Any:
    """Loss and gradients of a step, and how many rows and tokens it took."""
    data = TrainingData(model, writing(), tokenizer, 24, 8, accumulate, 0, Processes(),
                        steps=range(1, 2), pack=pack)  # fmt: skip
    loss, rows, size = 0.0, 0, 0
    model.zero_grad()
    with announced(model):
        for batch, share in data.parts(1):
            part = share * model(**batch).loss
            part.backward()
            loss += part.item()
            rows, size = rows + len(batch["labels"]), size + batch["labels"].numel()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss, found, rows, size


@pytest.mark.parametrize(
    ("name", "what"),
    [*[(name, "lora") for name in DECODERS if name != "opt"],
     *[(name, what) for name in ("gpt2", "llama") for what in PACKED[1:]]],
)  # fmt: skip
def test_a_packed_step_is_the_same_step(name: str, what: str) -> None:
    model, tokenizer = model_of(name, what)
    loss, gradients, rows, size = step_of(model, tokenizer, pack=False)
    together, same, fewer, smaller = step_of(model, tokenizer, pack=True)
    assert (rows, fewer) == (8, 4) and smaller < size
    assert together == pytest.approx(loss, rel=1e-5)
    assert same.keys() == gradients.keys() and gradients
    scale = max(float(g.abs().max()) for g in gradients.values())
    for parameter, gradient in gradients.items():
        assert torch.allclose(same[parameter], gradient, rtol=1e-3, atol=1e-5 * scale), parameter


def test_a_packed_row_token_for_token() -> None:
    first = {"input_ids": [5, 6, 7], "attention_mask": [1] * 3, "labels": [-100, 6, 7]}
    second = {"input_ids": [8, 9], "attention_mask": [1] * 2, "labels": [-100, 9]}
    batch = packed([[first, second], [second]], padding=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [8, 9, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9], [-100, 9, -100, -100, -100]]
    assert set(batch) == {"input_ids", "position_ids", "labels", "use_cache"}


def test_examples_share_rows() -> None:
    lengths = [3, 9, 4, 1, 6, 10, 2]
    rows = share_rows(lengths, 10)
    assert sorted(i for row in rows for i in row) == list(range(7))
    assert all(sum(lengths[i] for i in row) <= 10 for row in rows) and len(rows) == 4


def test_training_packed_is_training() -> None:
    states = []
    for pack in (False, True):
        torch.manual_seed(0)
        model = pft.LoRA(rank=2).attach(tiny("llama"), seed=0)
        tokenizer = bytes_tokenizer()
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        run = pft.train(model, writing(), steps=3, batch_size=8, accumulate=2, max_length=24,
                        pack=pack, lr=1e-2, tokenizer=tokenizer, progress=False)  # fmt: skip
        states.append((state_of(model), run.losses[-1][1], run.arguments["pack"]))
    (alone, loss, _), (together, same, packs) = states
    assert packs and same == pytest.approx(loss, rel=1e-4)
    for n in alone:
        assert torch.allclose(alone[n], together[n], atol=1e-3), n


@pytest.mark.parametrize("what", sorted(WITH_ENDS))
def test_methods_that_act_at_the_ends_of_a_text_are_refused(what: str) -> None:
    model, tokenizer = model_of("llama", what)
    with pytest.raises(pft.Refused, match="beginning or the end of each text"):
        pft.train(model, writing(), steps=1, batch_size=8, max_length=24, pack=True,
                  tokenizer=tokenizer, progress=False)  # fmt: skip


def test_architectures_that_cannot_tell_examples_apart() -> None:
    for name, words in (("opt", "see each other"), ("t5", "row of its encoder")):
        model, _ = model_of(name, "lora")
        with pytest.raises(pft.Refused, match=words):
            check_packing(model, writing())
    classifier = pft.LoRA(rank=2).attach(tiny("llama-classification"))
    with pytest.raises(pft.BadValue, match="one answer a row"):
        check_packing(classifier, pft.load_task("reviews", size="tiny"))
    model, tokenizer = model_of("gpt2", "lora")
    with pytest.raises(pft.BadValue, match="pack='yes'"):
        pft.train(model, writing(), pack="yes", tokenizer=tokenizer)  # type: ignore[arg-type]
