"""What trains in the browser is what trains in Python: the tokens, the network, every step."""

import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import launched

import pftlab as pft
from pftlab.bases import load_tokenizer
from pftlab.core.trained import trainable_state
from pftlab.tasks.bundled import BUNDLED

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from pages import live  # noqa: E402

STEPS, RATE = 20, 2e-3
SHAPE = {"layers": 4, "heads": 4, "width": 128, "inner": 512}
# name in the page → (method, options there)
METHODS = {
    "linear_probe": (pft.LinearProbe(), {}),
    "bitfit": (pft.BitFit(), {}),
    "ia3": (pft.IA3(), {}),
    "lora": (pft.LoRA(rank=4), {"rank": 4, "alpha": 16, "at": ["attention.query", "attention.value"]}),
    "lora everywhere": (
        pft.LoRA(rank=2, at=tuple(live.LORA_SITES)),
        {"rank": 2, "alpha": 16, "at": list(live.LORA_SITES)},
    ),
    "houlsby": (pft.Houlsby(bottleneck=16), {"bottleneck": 16}),
    "prompt_tuning": (pft.PromptTuning(length=10), {"length": 10}),
    "full": (pft.FullFineTuning(), {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """An empty page with the program, the kernels and the base in it."""
    with launched() as browser:
        page = browser.new_page()
        page.add_script_tag(content=live.program(*live.MODULES))
        parts = live.parts()
        page.evaluate(
            """async ({kernels, weights, language, shape}) => {
                await startKernels(kernels);
                globalThis.base = new Base(bytesOf(weights), shape);
                globalThis.tokenizer = new Tokenizer(language);
            }""",
            {name: parts[name] for name in ("kernels", "weights", "language")} | {"shape": SHAPE},
        )
        yield page


def odd_texts(count: int) -> list[str]:
    """Texts of characters from everywhere, of pieces of words, and of special tokens."""
    draw = random.Random(0)
    blocks = [(0, 0x7F), (0x80, 0x24F), (0x370, 0x52F), (0x600, 0x6FF), (0x900, 0x97F),
              (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x4EFF), (0x1F300, 0x1F64F)]  # fmt: skip
    words = ["don't", "isn't it", "the", "ΟΔΥΣΣΕΥΣ", "İstanbul", "[MASK]", "[CLS] ", "▁", "⇧", "'s", "n't",
             "  ", "\n", "\t", "\u0085", "\ufeff", "\u00a0", "1234567", "½", "ﬁ", "e\u0301", "...", "?!", "Ǆ"]  # fmt: skip
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(draw.randrange(12)):
            if draw.random() < 0.5:
                parts.append(draw.choice(words) + draw.choice(["", " "]))
            else:
                low, high = draw.choice(blocks)
                parts.append(
                    "".join(chr(draw.randint(low, high)) for _ in range(draw.randrange(6)))
                )
        texts.append("".join(parts))
    return texts


def test_ten_thousand_texts_become_the_same_tokens(page: Any) -> None:
    texts: list[str] = []
    for card in BUNDLED:
        for split in pft.load_task(card.name).splits.values():
            for column in split.column_names:
                values = split[column]
                if isinstance(values[0], str):
                    texts += values
    texts = list(dict.fromkeys(texts))[:6000]
    texts += odd_texts(10_000 - len(texts))
    model = pft.load_base("tiny-encoder", num_labels=2)
    expected = load_tokenizer(model)(texts, truncation=True, max_length=128)["input_ids"]
    found = page.evaluate("texts => texts.map(text => tokenizer.encode(text))", texts)
    wrong = [(t, e, f) for t, e, f in zip(texts, expected, found, strict=True) if e != f]
    assert not wrong, (len(wrong), wrong[:3])


@contextmanager
def without_dropout(model: Any) -> Iterator[tuple[list[dict], list[float]]]:
    """What `model` is given in training, and what loss comes out; its dropout is off."""
    batches: list[dict[str, Any]] = []
    losses: list[float] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for module in model.modules():
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0

    def seen(_: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if model.training:
            mask = kwargs["attention_mask"].bool()
            rows = [ids[m].tolist() for ids, m in zip(kwargs["input_ids"], mask, strict=True)]
            batches.append({"rows": rows, "labels": kwargs["labels"].tolist()})
            losses.append(output.loss.item())

    hook = model.register_forward_hook(seen, with_kwargs=True)
    yield batches, losses
    hook.remove()


@pytest.mark.parametrize("name", METHODS)
def test_twenty_steps_are_those_of_train(page: Any, name: str) -> None:
    method, options = METHODS[name]
    task = pft.load_task("reviews", size="tiny")
    model = pft.load_base("tiny-encoder", num_labels=2)
    method.attach(model)
    begun = {key: value.clone() for key, value in trainable_state(model).items()}
    # what is the base's own, the page has
    drawn = {k: v.tolist() for k, v in begun.items() if "pft_" in k or k.startswith("classifier")}
    with without_dropout(model) as (batches, losses):
        pft.train(model, task, steps=STEPS, lr=RATE, evaluate_every=STEPS, progress=False)
    end = trainable_state(model)
    script = """({method, options, start, batches, rate, asked}) => {
        const model = new Model(base, method, options, new Draw(1));
        const names = [...model.parameters.keys()];
        for (const [name, { values }] of model.parameters) if (name in start) values.set(start[name].flat(Infinity));
        model.upload();
        const losses = batches.map(({ rows, labels }, i) =>
            model.step(rows, labels, rate * schedule(i + 1, batches.length)));
        const ends = asked.map(name => Array.from(model.parameters.get(name).values));
        return { names, losses, ends, count: model.count };
    }"""
    asked = [key for key in end if end[key].numel() <= 16_384 and "self.key.bias" not in key]
    found = page.evaluate(
        script,
        {"method": name.split()[0], "options": options, "start": drawn, "batches": batches,
         "rate": RATE, "asked": asked},
    )  # fmt: skip
    assert sorted(found["names"]) == sorted(begun)
    assert found["count"] == pft.count(model).trainable
    difference = max(abs(a - b) for a, b in zip(losses, found["losses"], strict=True))
    assert difference < 1e-4, json.dumps([losses, found["losses"]])
    moved = 0.0
    for key, values in zip(asked, found["ends"], strict=True):
        there = torch.tensor(values).reshape(end[key].shape)
        moved = max(moved, (end[key] - begun[key]).abs().max().item())
        assert (there - end[key]).abs().max() < 1e-3, key
    assert moved > 5 * RATE
