"""Several adapters on one model: which of them act, for the model and for the rows of a batch."""

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import perturb, tiny
from torch import Tensor

import pftlab as pft
from pftlab import in_use, rows, use
from pftlab.core.record import record_of
from pftlab.low_rank.lora import LowRank
from pftlab.testing import batch
from pftlab.testing.checks import close


def logits(model: Any, name: str = "bert", size: int = 4) -> Tensor:
    with torch.no_grad():
        return model(**batch(name, size=size)).logits


def several(name: str = "bert", **methods: Any) -> tuple[Any, dict[str | None, Tensor]]:
    """A model with these attached, each trained alone, and what each computes alone."""
    model = tiny(name)
    alone: dict[str | None, Tensor] = {None: logits(model, name)}
    for number, (key, method) in enumerate(methods.items(), start=1):
        if number > 1:
            use(model, None)
        method.attach(model, key, seed=number)
        perturb(model, number)
        alone[key] = logits(model, name)
    return model, alone


def expected(alone: dict[str | None, Tensor], names: Any) -> Tensor:
    return torch.stack([alone[name][row] for row, name in enumerate(names)])


LORA = pft.LoRA(rank=2)
MANY = {
    "a": LORA,
    "b": LORA,
    "wide": pft.LoRA(rank=3, at=("attention.query", "ffn.up")),
    "scales": pft.IA3(),
    "prefix": pft.PrefixTuning(length=3, hidden=8),
    "prompt": pft.PromptTuning(length=2, position=1),
}


def test_use_switches_composes_and_sets_aside() -> None:
    model, alone = several(a=LORA, b=LORA, scales=pft.IA3())
    assert in_use(model) == {"scales": 1.0}
    for name in ("a", None, "b", "scales"):
        assert torch.equal(logits(use(model, name)), alone[name])
    use(model, ["a", "scales"])
    both = pft.IA3().attach(pft.LoRA(rank=2).attach(tiny("bert"), "a"), "scales")
    names = dict(both.named_parameters())
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n in names:
                names[n].copy_(p)
    assert torch.equal(logits(model), logits(both))
    with pytest.raises(pft.UnknownName, match=r"no attached adapter 'c'.*Known: a, b, scales"):
        use(model, ["a", "c"])
    assert in_use(model) == {"a": 1.0, "scales": 1.0}
    assert torch.equal(logits(pft.detach(model)), alone[None])


def test_weights_sum_what_is_added_to_the_weights() -> None:
    model, _ = several(a=LORA, b=LORA)
    use(model, {"a": 0.7, "b": -0.3})
    found = logits(model)
    plain = tiny("bert")
    plain.classifier.load_state_dict(model.classifier.state_dict())
    for layer, base in zip(model.bert.encoder.layer, plain.bert.encoder.layer, strict=True):
        for which in ("query", "value"):
            host, target = (getattr(x.attention.self, which) for x in (layer, base))
            for name, weight in (("a", 0.7), ("b", -0.3)):
                delta = getattr(host, f"pft_{name}")
                target.weight.data += weight * delta.scale * delta.B.data @ delta.A.data
    assert close(found, logits(plain)), "not the weighted sum of ΔW"
    assert close(logits(pft.merge(copy.deepcopy(model))), found), "merged without the weights"


def test_weights_are_refused_where_they_mean_nothing() -> None:
    model, _ = several(a=LORA, **{k: MANY[k] for k in ("scales", "prefix")}, dora=pft.DoRA(rank=2))
    for name in ("scales", "prefix", "dora"):
        before = in_use(model)
        with pytest.raises(pft.Refused, match=rf"'{name}'\) cannot have a weight: "):
            use(model, {"a": 1.0, name: 0.5})
        assert in_use(model) == before
    for wrong in (0, float("nan"), "1", True):
        with pytest.raises(pft.BadValue, match="give a finite number that is not 0"):
            use(model, {"a": wrong})
    use(model, {"scales": 1, "a": 0.5})  # whole beside half


def test_base_parameters_have_a_value_for_each_attachment(tmp_path: Path) -> None:
    model, alone = several(one=pft.BitFit(), two=pft.BitFit(), other=LORA)
    pft.save(model, tmp_path / "one", name="one")  # set aside, and saved as trained
    assert torch.equal(logits(pft.load(tiny("bert"), tmp_path / "one")), alone["one"])
    with pytest.raises(pft.BadValue, match=r"'one' and 'two' have each a value of .* Use one"):
        use(model, ["one", "two"])
    for name in ("two", "other", "one", None):
        assert torch.equal(logits(use(model, name)), alone[name])
    pft.detach(model, "two")
    use(model, "one")
    assert torch.equal(logits(copy.deepcopy(model)), alone["one"])
    assert torch.equal(logits(pft.detach(model)), alone[None])
    loaded = use(pft.load(tiny("bert"), tmp_path / "one", name="first"), None)
    pft.load(loaded, tmp_path / "one", name="second")
    assert torch.equal(logits(use(loaded, "first")), logits(use(loaded, "second")))


def test_what_is_in_use_is_trained_and_nothing_else() -> None:
    model, _ = several(a=LORA, fixed=pft.LoRAFA(rank=2))
    use(model, "a")
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained and not any("fixed" in n for n in trained)
    use(model, ["a", "fixed"])
    more = {n for n, p in model.named_parameters() if p.requires_grad} - trained
    assert more and all("pft_fixed" in n and n.endswith("B") for n in more), (
        "A of LoRA-FA is frozen"
    )
    model(**batch("bert")).logits.sum().backward()
    use(model, None)
    assert pft.count(model).trainable == pft.count(model).head == 0
    with pytest.raises(pft.Refused, match="Nothing that is attached is in use"):
        pft.training.Lifecycle(model, 1)
    assert list(pft.training.Lifecycle(use(model, "a"), 1).methods) == [LORA]


@pytest.mark.parametrize("name", ["bert", "gpt2-classification", "llama-classification"])
def test_rows_compute_what_each_adapter_computes_alone(name: str) -> None:
    model, alone = several(name, **MANY)
    for names in (list(MANY)[:4], [*list(MANY)[4:], None, "a"], ["b", None, "a", "b"]):
        with rows(model, names):
            assert close(logits(model, name), expected(alone, names)), names
    assert torch.equal(logits(model, name), alone["prompt"]), "felt outside of the block"
    for one in ("a", None):
        with rows(model, one):
            assert close(logits(model, name), alone[one])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("given", [False, True])
def test_rows_behind_padding_stand_where_they_stand_alone(name: str, given: bool) -> None:
    inputs = batch(name, size=4)
    mask = torch.ones_like(inputs["input_ids"])
    for row in range(4):
        mask[row, :row] = 0
    inputs = {"input_ids": inputs["input_ids"], "attention_mask": mask}
    if given:
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    model = tiny(name)
    for number, key in enumerate(("a", "prefix", "prompt")):
        if number:
            use(model, None)
        MANY[key].attach(model, key, seed=number)
        perturb(model, number)
    with torch.no_grad():
        alone = {key: use(model, key)(**inputs).logits for key in ("a", "prefix", "prompt", None)}
        for names in (["a", "prefix", None, "prefix"], ["prompt", "a", "prefix", None]):
            with rows(model, names):
                found = model(**inputs).logits
            for row, key in enumerate(names):
                words = slice(row, None)
                assert close(found[row, words], alone[key][row, words]), (names, row)


def test_adapters_of_one_shape_are_one_product(monkeypatch: Any) -> None:
    model, alone = several(**dict.fromkeys("abcd", LORA))
    calls, forward = [], LowRank.forward
    monkeypatch.setattr(LowRank, "forward", lambda *a: calls.append(1) or forward(*a))
    with rows(model, list("dcba")):
        assert close(logits(model), expected(alone, "dcba"))
    assert len(calls) == 4, "one call for each of two sites in two layers"


def test_rows_train_each_its_own_adapter() -> None:
    model, _ = several(a=LORA, b=LORA, c=LORA)
    use(model, ["a", "b", "c"])
    with rows(model, ["a", "b", "a", "b"]):
        model(**batch("bert", size=4)).logits.pow(2).sum().backward()
    mixed = {n: p.grad for n, p in model.named_parameters() if ".pft_" in n}
    assert all((g is None or not g.any()) == ("pft_c" in n) for n, g in mixed.items())
    model.zero_grad()
    use(model, ["a"])
    inputs = {k: v[[0, 2]] for k, v in batch("bert", size=4).items()}
    with rows(model, "a"):
        model(**inputs).logits.pow(2).sum().backward()
    assert torch.isfinite(mixed["bert.encoder.layer.0.attention.self.query.pft_a.B"]).all()


def test_rows_are_written_with_beams_and_a_cache() -> None:
    model, _ = several("gpt2", a=LORA, p=pft.PromptTuning(length=3), x=MANY["prefix"])
    inputs = batch("gpt2", size=4) | {}
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    for beams in (1, 3):
        names = ["a", "x", None, "p"]
        with rows(model, names, copies=beams):
            together = model.generate(**inputs, **options, num_beams=beams)
        for row, name in enumerate(names):
            one = {k: v[row : row + 1] for k, v in inputs.items()}
            alone = use(model, name).generate(**one, **options, num_beams=beams)
            assert torch.equal(together[row], alone[0]), (name, beams)


def test_a_wrong_number_of_rows_is_refused() -> None:
    model, _ = several(a=LORA)
    with rows(model, ["a", None]), pytest.raises(pft.BadValue, match="for 2 rows, .* has 4"):
        logits(model)
    for names, copies in (([], 1), (["a"], 0)):
        with pytest.raises(pft.BadValue, match="give a name, or None"), rows(model, names, copies):
            pass
    with pytest.raises(pft.UnknownName, match="attached adapter 'b'"), rows(model, ["b"]):
        pass
    with rows(model, "a"):
        for act in (pft.detach, pft.merge, lambda m: use(m, None), LORA.attach):
            with pytest.raises(pft.Refused, match=r"inside `with rows\(model, …\)`"):
                act(model)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (pft.BitFit(), "changes parameters of the base, which all rows share"),
        (pft.RandomMask(), "changes weights of the base, which all rows share"),
        (pft.LoReFT(rank=2), "looks at the whole batch"),
    ],
)
def test_what_rows_cannot_have_for_themselves(method: Any, why: str) -> None:
    model, _ = several(a=method)
    reason = f"cannot be the adapter of single rows: .*{why}"
    with pytest.raises(pft.Refused, match=reason), rows(model, ["a", None]):
        pass


def test_a_prompt_that_the_classifier_reads_does_not_mix() -> None:
    model, alone = several(a=pft.PromptTuning(length=2, position=0), b=LORA)
    reason = "classifier reads the first vector"
    with pytest.raises(pft.Refused, match=reason), rows(model, ["a", "b", "a", None]):
        pass
    with rows(model, ["a"] * 4):
        assert close(logits(model), alone["a"])


@pytest.mark.parametrize(
    ("name", "position", "why"),
    [
        ("bart", 0, "counts positions by itself"),
        ("t5", 1, "how far words are from each other"),
        ("modernbert", 1, "how far words are from each other"),
    ],
)
def test_prompts_do_not_mix_where_others_would_feel_their_places(
    name: str, position: int, why: str
) -> None:
    model, alone = several(name, a=pft.PromptTuning(length=2, position=position))
    with pytest.raises(pft.Refused, match=why), rows(model, ["a", None, "a", None]):
        pass
    with rows(model, ["a"] * 4):
        assert close(logits(model, name), alone["a"])


def test_what_all_rows_share_is_refused() -> None:
    model, alone = several("deberta_v2", a=LORA, b=LORA)  # positions pass the projections too
    with pytest.raises(pft.Refused, match="that all rows share"), rows(model, ["a", "b", "a", "b"]):
        logits(model, "deberta_v2")
    with rows(model, "a"):
        assert close(logits(model, "deberta_v2"), alone["a"])


def test_a_compiled_model_does_not_pass_over_the_rows() -> None:
    model, alone = several(a=LORA, b=LORA)
    use(model, None)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    assert close(logits(compiled), alone[None])
    with rows(model, ["a", "b", None, "a"]):
        assert close(logits(compiled), expected(alone, ["a", "b", None, "a"]))
    assert close(logits(compiled), alone[None])
    use(model, "a")
    assert close(logits(compiled), alone["a"])
    torch._dynamo.reset()
    whole = torch.compile(model, backend="eager", fullgraph=True)
    with rows(model, "a"), pytest.raises(Exception, match="rows of a batch|graph_break"):
        logits(whole)


def test_disabled_inside_rows_is_the_base() -> None:
    model, alone = several(a=LORA)
    with rows(model, "a"):
        with pft.disabled(model):
            assert torch.equal(logits(model), alone[None])
        assert close(logits(model), alone["a"])
    with pft.disabled(model), pytest.raises(pft.Refused), rows(model, "a"):
        pass


def test_copies_have_rows_of_their_own() -> None:
    model, alone = several(a=LORA, b=LORA)
    with rows(model, ["a", "b", None, "a"]):  # registers what the heads of rows need
        logits(model)
    other = copy.deepcopy(model)
    perturb(other, 7)
    with rows(other, ["a", "b", None, "a"]):
        mixed = logits(other)
        assert torch.equal(logits(model), alone["b"]), "rows of a copy are felt in the original"
    assert not close(mixed[1], alone["b"][1]) and close(mixed[0], alone["a"][0])
    assert torch.equal(logits(pft.detach(other)), alone[None])
    assert not any(m._forward_hooks for m in other.modules())


def test_threads_compute_with_different_adapters_at_once() -> None:
    model, alone = several(a=LORA, b=LORA, x=MANY["prefix"])
    together, wrong = threading.Barrier(4, timeout=300), []

    def serve(names: list[str | None]) -> None:
        with rows(model, names):
            together.wait()
            for _ in range(5):
                if not close(logits(model), expected(alone, names)):
                    wrong.append(names)

    mixtures = (["a"] * 4, ["b", "a", "x", None], [None] * 4, ["x", "x", "b", "b"])
    threads = [threading.Thread(target=serve, args=(list(names),)) for names in mixtures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_change_waits_for_the_rows_of_other_threads() -> None:
    model, _ = several(a=LORA, b=LORA)
    passes, order = record_of(model).passes, []
    inside, go = threading.Event(), threading.Event()

    def serve() -> None:
        with rows(model, "a"):
            inside.set()
            go.wait(60)
            order.append("pass")

    def change() -> None:
        pft.detach(model, "b")
        order.append("change")

    server, changer = threading.Thread(target=serve), threading.Thread(target=change)
    server.start()
    inside.wait(60)
    changer.start()
    while not passes._waiting:
        pass
    assert "b" in pft.attached(model)
    go.set()
    server.join()
    changer.join()
    assert order == ["pass", "change"] and "b" not in pft.attached(model)
