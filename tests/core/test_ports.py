"""Ports: each pair of method and place computes or is refused, and passes may run side by side."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import batch, method, perturb, tiny
from torch import Tensor, nn

import pftlab as pft
from pftlab.core import Delta, KeysValues, Method, Port, Site, WeightDelta, planted
from pftlab.core.places import Place
from pftlab.prompt.prefix_tuning import Prefix
from pftlab.testing.checks import close
from pftlab.testing.models import logits, output

#: methods that are told where to act
PLACED = tuple(name for name, cls in pft.METHODS.items() if "at" in cls.__dataclass_fields__)
ARCHITECTURES = ("bert", "gpt2", "llama", "t5")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_method_at_each_place_computes_or_is_refused(architecture: str) -> None:
    model, inputs = tiny(architecture), batch(architecture)
    names = list(dict.fromkeys(site.name for site in pft.sites(model)))
    names += [f"{name}.input" for name in names]
    keys, computed = list(model.state_dict()), 0
    for how in PLACED:
        settings = method(how)
        for place in names:
            try:
                type(settings)(**{**vars(settings), "at": (place,)}).attach(model)
            except pft.PftError as reason:
                assert len(str(reason)) > 40, (how, place)
                assert list(model.state_dict()) == keys, (how, place)
                continue
            try:
                assert output(model, inputs).isfinite().all()
            except Exception as error:
                raise AssertionError(f"{how} at {place} attaches and then dies") from error
            computed += 1
            pft.detach(model)
    assert computed > 200


def test_a_delta_fits_where_its_kind_of_thing_passes() -> None:
    for how, place, words in (
        (pft.PrefixTuning(hidden=None), "ffn.up", r"A Prefix rewrites the keys and values .*"
         r"'ffn.up' passes what a module returns\. Choose from: attention.keys_values"),
        (pft.LoRA(), "attention.keys_values", "A LowRank rewrites what a module returns or"),
        (pft.LoRA(), "embedding", "'embedding' the base reads numbers of words"),
        (pft.Houlsby(), "sequence", "A Bottleneck rewrites"),
        (pft.PromptTuning(), "block", "Words are embedded at the site 'sequence'"),
        (pft.LLaMAAdapter(), "ffn.up", "no key and value projection of its own"),
    ):  # fmt: skip
        with pytest.raises(pft.Refused, match=words):
            type(how)(**{**vars(how), "at": (place,)}).attach(tiny("bert"))


def test_a_place_that_is_missing_says_why() -> None:
    for model, place, why in (
        ("bert", "ffn.gate", "Its feed-forward network has no gate"),
        ("bert", "cross_attention.query", "no encoder-decoder"),
        ("llama", "attention.query_key_value", "three projections"),
        ("gpt2", "attention.query.input", "slices read one input"),
        ("bert", "embedding.input", "no linear map"),
    ):
        with pytest.raises(pft.UnknownName, match=why):
            pft.LoRA(at=(place,)).attach(tiny(model))


def replicas(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What DataParallel makes of `model` for two devices, here the same processor twice."""
    replicate = importlib.import_module("torch.nn.parallel.replicate")

    def copies(tensors: list[Tensor], devices: list[int], detach: bool = False) -> list[Any]:
        return [[tensor + 0 for tensor in tensors] for _ in devices]

    monkeypatch.setattr(replicate, "_broadcast_coalesced_reshape", copies)
    return replicate.replicate(model, [0, 1])


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
@pytest.mark.parametrize("name", pft.METHODS)
def test_replicas_run_their_own_deltas(
    name: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        model = method(name).attach(tiny(architecture))
    except pft.PftError:
        pytest.skip("cannot be attached to this model")
    perturb(model)
    inputs = batch(architecture)
    expected = logits(model, inputs)
    for replica in replicas(model, monkeypatch):
        # as on another device: whoever reads the original is found out
        with torch.no_grad():
            originals = {p: p.clone() for p in model.parameters()}
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
            try:
                assert close(logits(replica, inputs), expected, 1e-6)
            finally:
                for parameter, value in originals.items():
                    parameter.copy_(value)
    assert torch.equal(logits(model, inputs), expected)


def test_replicas_of_a_base_in_sixteen_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert").to(torch.bfloat16))
    perturb(model)
    for replica in replicas(model, monkeypatch):
        assert torch.equal(logits(replica, batch("bert")), logits(model, batch("bert")))


@pytest.mark.parametrize("name", pft.METHODS)
def test_threads_get_what_each_gets_alone(name: str) -> None:
    """Two threads in one model, in step at every module: each may find what the other left."""
    try:
        model = method(name).attach(tiny("bert"))
    except pft.PftError:
        pytest.skip("cannot be attached to this model")
    perturb(model)
    inputs = [batch("bert", length=7), batch("bert", length=9)]
    expected = [logits(model, each) for each in inputs]
    found: list[Any] = [None, None]

    def interleave(*given: Any) -> None:
        threading.Event().wait(0.0005)  # lets the other thread go first

    for module in model.modules():
        if not isinstance(module, Delta):
            module.register_forward_pre_hook(interleave)

    def answer(number: int) -> None:
        try:
            with torch.no_grad():
                found[number] = [output(model, inputs[number]) for _ in range(3)]
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=answer, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        assert not isinstance(found[number], Exception), found[number]
        for result in found[number]:
            assert torch.equal(result, expected[number])


class Shift(WeightDelta):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(1))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.by


class ShiftNorms(Method):
    """Plants a change of every layer norm's weight."""

    name = title = "shift"

    def sites(self, model: nn.Module) -> list[Site]:
        from pftlab.core import parameter_sites

        return parameter_sites(model, lambda name, _: name.endswith("LayerNorm.weight"))

    def delta(self, site: Site) -> Delta:
        return Shift()


def test_an_interrupted_pass_leaves_no_changed_weight_behind() -> None:
    model = ShiftNorms().attach(tiny("bert"))
    ShiftNorms().attach(model, "again")
    expected = logits(model, batch("bert"))
    norm = model.bert.embeddings.LayerNorm

    def press_ctrl_c(*given: Any) -> None:
        raise KeyboardInterrupt

    handle = norm.register_forward_pre_hook(press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        model(**batch("bert"))
    handle.remove()
    assert torch.equal(logits(model, batch("bert")), expected)
    assert "weight" not in vars(norm)
    assert torch.equal(norm.weight, tiny("bert").bert.embeddings.LayerNorm.weight)
    with pytest.raises(Exception):
        model(**batch("bert"), token_type_ids=torch.ones(5, 5))
    answers: list[Tensor] = []
    thread = threading.Thread(target=lambda: answers.append(logits(model, batch("bert"))))
    thread.start()
    thread.join(timeout=300)
    assert answers and torch.equal(answers[0], expected), "another thread waits for ever"


@pytest.mark.parametrize(
    "name", ["prefix_tuning", "p_tuning_v2", "llama_adapter", "mam", "unipelt"]
)
def test_another_attention_implementation_is_refused(name: str) -> None:
    model, inputs = method(name).attach(tiny("bert")), batch("bert")
    perturb(model)
    expected = logits(model, inputs)
    changes: list[Callable[[], Any]] = [
        lambda: model.set_attn_implementation("eager"),
        lambda: model.set_attn_implementation("sdpa"),
        lambda: setattr(model.config, "_attn_implementation", "eager"),
    ]
    for change in changes:
        change()
        with pytest.raises(pft.Refused, match=r"through the attention implementation 'pftlab'"):
            model(**inputs)
        with pft.disabled(model):
            assert torch.equal(logits(model, inputs), logits(tiny("bert"), inputs))
        model.set_attn_implementation("pftlab")
        assert torch.equal(logits(model, inputs), expected)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "opt", "llama", "t5"])
def test_attention_weights_can_be_asked_for(architecture: str) -> None:
    """Those of the prefix come first; without one they are the base's."""
    inputs = batch(architecture)

    def attentions(model: Any) -> list[Tensor]:
        with torch.no_grad():
            found = model(**inputs, output_attentions=True)
        return [w for key, each in found.items() if key.endswith("attentions") for w in each]

    base = tiny(architecture)
    base.set_attn_implementation("eager")
    expected = attentions(base)
    model = tiny(architecture)
    prefix = pft.PrefixTuning(length=3, hidden=None, shift_positions=False).attach(model)
    for *_, delta in planted(prefix):
        if isinstance(delta, Prefix):
            torch.nn.init.zeros_(delta.keys)
    found = attentions(prefix)
    assert [w.shape[-1] for w in found] == [w.shape[-1] + 3 for w in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.sum(-1), torch.ones(()), atol=1e-5)
        if ours is found[0]:  # the first layer reads the same: its text keeps its proportions
            text = ours[..., 3:] / ours[..., 3:].sum(-1, keepdim=True)
            assert torch.allclose(text, theirs, atol=1e-5)
    with torch.no_grad():
        with_weights = prefix(**inputs, output_attentions=True).logits
    assert close(with_weights, logits(prefix, inputs), 1e-5)


def test_a_static_cache_is_named() -> None:
    model = pft.PromptTuning(length=3).attach(tiny("llama"))
    ids = batch("llama")["input_ids"]
    with pytest.raises(pft.Refused, match="static cache"):
        model.generate(ids, max_new_tokens=2, cache_implementation="static")


def test_a_quantised_copy_is_told_to_merge_first() -> None:
    for how in (pft.LoRA(rank=2), pft.IA3(), method("galore")):
        model = how.attach(tiny("bert"))
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
        with pytest.raises(pft.Refused, match=r"Merge the method first"):
            quantised(**batch("bert"))


@pytest.mark.parametrize("name", pft.METHODS)
def test_numbers_that_are_none_are_not_folded_in(name: str) -> None:
    if not pft.METHODS[name].mergeable:
        pytest.skip("cannot be merged")
    for bad in (torch.nan, torch.inf):
        model = method(name).attach(tiny("bert"))
        trained = [p for n, p in model.named_parameters() if p.requires_grad and p.numel()]
        ours = [p for n, p in model.named_parameters() if ".pft_" in n and p.numel()]
        broken = next((p for p in ours if p.requires_grad), trained[0])
        with torch.no_grad():
            broken[(0,) * broken.dim()] = bad
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(pft.Refused, match="holds NaN or infinite numbers"):
            pft.merge(model)
        after = model.state_dict()
        assert all(torch.allclose(after[k], v, 0, 0, equal_nan=True) for k, v in before.items())
        assert after.keys() == before.keys() and pft.attached(model)


@pytest.mark.parametrize("name", pft.METHODS)
def test_h_keeps_its_type_under_autocast(name: str) -> None:
    """Behind every host comes out what the base's would be: of the same type."""
    model, inputs = tiny("bert"), batch("bert")
    try:
        method(name).attach(model)
    except pft.PftError:
        pytest.skip("cannot be attached to this model")
    hosts = {path for path, *_ in planted(model)}

    def types(model: Any) -> dict[str, list[Any]]:
        seen: dict[str, list[Any]] = {}
        handles = [
            module.register_forward_hook(lambda m, a, out, path=path: seen.setdefault(path, []).append(_types(out)))
            for path, module in model.named_modules()
            if path in hosts
        ]  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            model(**inputs)
        for handle in handles:
            handle.remove()
        return seen

    assert types(model) == types(tiny("bert"))


def _types(out: Any) -> Any:
    if isinstance(out, Tensor):
        return out.dtype
    if isinstance(out, dict):
        return {key: _types(value) for key, value in out.items() if isinstance(value, Tensor)}
    return [_types(each) for each in out] if isinstance(out, tuple | list) else type(out)


class Look(Delta):
    """h, as it is; notes the types of what it was given."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h


def test_ports_are_told_apart_by_type() -> None:
    assert Look.ports == (Port.OUTPUT, Port.INPUT, Port.NORMED)
    assert KeysValues.ports == (Port.KEYS_VALUES,)
    assert Place("x").port is Port.OUTPUT


@pytest.mark.parametrize("name", pft.METHODS)
def test_no_delta_has_a_meaning_of_its_own_for_what_planting_writes(name: str) -> None:
    """Planting would change it in silence."""
    written = {n for n in vars(Delta) if n in Delta.__annotations__} - {
        "ports",
        "_tied_weights_keys",
    }
    assert {"home", "slice", "reads_h", "widths"} <= written
    try:
        planned = method(name).plan(tiny("bert"))
    except pft.PftError:
        planned = method(name).plan(tiny("llama"))
    for _, delta in planned:
        assert not written & (vars(delta).keys() - {"active"}), type(delta).__name__
