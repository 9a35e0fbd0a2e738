"""The losses of T-Few, examples in the context, and the stored runs of both."""

import json
import math

import pytest
import torch

import pftlab as pft
from pftlab.experiments import few_shots


def test_the_losses_are_those_of_the_paper() -> None:
    """Equations 1 and 2 by hand: two wrong answers, of one token and of two."""
    right, short, long = [0.5, 0.4], [0.2], [0.6, 0.1]
    choices = [torch.tensor(each).log() for each in (short, right, long)]
    model, unlikely, length = (x.item() for x in few_shots.losses(choices, 1))
    assert model == pytest.approx(-(math.log(0.5) + math.log(0.4)) / 2)
    wrong = [0.2, 0.6, 0.1]
    assert unlikely == pytest.approx(-sum(math.log(1 - p) for p in wrong) / 3)
    normal = [math.prod(each) ** (1 / len(each)) for each in (right, short, long)]
    assert length == pytest.approx(-math.log(normal[0] / sum(normal)))


def test_a_context_that_is_read_once_answers_as_one_that_is_read_with_each_text() -> None:
    model = pft.load_base("tiny-decoder").eval()
    asked = few_shots.Asked(model, pft.load_tokenizer(model), few_shots.WORDS)
    before, fronts = "The film was good.\n\n", ["It was", "We saw a very dull play. It was"]
    with torch.no_grad():
        cached = asked(fronts, before)
        ids = [asked._ids(before) + asked._ids(front) for front in fronts]
        whole = [model(input_ids=torch.tensor([row])).logits[0, -1] for row in ids]
        without = asked(fronts)
    expected = torch.stack(whole).log_softmax(-1)[:, asked.words]
    assert torch.allclose(cached, expected, atol=1e-4)
    assert not torch.allclose(cached, without, atol=1e-2), "and the context matters"


def test_exchanged_answers_keep_the_texts() -> None:
    shots = (("a", "bad"), ("b", "good"))
    assert few_shots.exchanged(shots) == (("a", "good"), ("b", "bad"))


def test_the_stored_file_has_every_run() -> None:
    stored = json.loads(few_shots.STORED_FEW_SHOTS.read_text(encoding="utf-8"))
    asked = [(run["variant"], run["seed"]) for run in stored["language_model_runs"]]
    names = [*few_shots.CONTEXTS, *few_shots.LOSSES]
    assert sorted(asked) == sorted((name, seed) for name in names for seed in few_shots.SEEDS)
    trained = [(run["method"], run["shots"], run["seed"]) for run in stored["encoder_runs"]]
    methods = [method.name for method in few_shots.METHODS]
    assert sorted(trained) == sorted(
        (name, size, seed)
        for name in methods
        for size in few_shots.SIZES
        for seed in few_shots.SEEDS
    )
    searched = [(run["method"], run["lr"], run["seed"]) for run in stored["searches"]]
    assert len(set(searched)) == len(searched) == 3 * len(few_shots.RATES) * 2
