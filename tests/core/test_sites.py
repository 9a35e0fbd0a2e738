"""Sites: the field's names find the right modules, widths and weights on every architecture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import MODELS, batch, tiny
from torch import nn
from transformers import Phi3Config, Phi3ForCausalLM, T5Config, T5ForConditionalGeneration

import pftlab as pft
from pftlab.adapter.mad_x import word_scores
from pftlab.core import Delta, norm_parameters, plant, planted, with_cross_attention
from pftlab.core.architectures import ARCHITECTURES, Architecture, architecture
from pftlab.core.places import Place, Slice

BASES = [name for name in MODELS if "-" not in name]  # one of each architecture
EXPERTS = ("mixtral", "qwen3_moe")


class Look(Delta):
    """h, which is shown to `see` on its way."""

    def __init__(self, see: Callable[[torch.Tensor], None]):
        super().__init__()
        self.see = see

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        self.see(h)
        return h


class Shift(Delta):
    """h + v, to see where it acts."""

    def __init__(self, width: int):
        super().__init__()
        self.v = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return h + self.v


@pytest.mark.parametrize("name", BASES)
def test_every_name_of_the_table_finds_a_module_in_each_layer(name: str) -> None:
    model = tiny(name)
    found = pft.sites(model)
    names = {site.name for site in found}
    table = architecture(model).places
    missing = {"ffn.gate", "ffn.up", "ffn.down"} if name in EXPERTS else set()
    assert names == set(table) - missing
    for site in found:
        assert model.get_submodule(site.path) is site.host
    in_layers = {n for n in names if "*" in table[n][0].path}
    for each in in_layers:
        layers = [s.layer for s in found if s.name == each]
        expected = [None] if name == "albert" else [0, 1] * len(table[each])
        assert layers == expected


@pytest.mark.parametrize("name", BASES)
def test_common_names_exist_everywhere(name: str) -> None:
    common = "sequence embedding attention attention.query attention.key attention.value"
    common += " attention.keys_values attention.output ffn ffn.up ffn.down block stream"
    lacking = {name: {"ffn.up", "ffn.down"} for name in EXPERTS}
    lacking["deberta_v2"] = {"attention.keys_values"}
    found = {site.name for site in pft.sites(tiny(name))}
    assert set(common.split()) - found == lacking.get(name, set())


@pytest.mark.parametrize("name", BASES)
def test_widths_fit_what_passes_through(name: str) -> None:
    """x and h, as a delta sees them, have the widths that the site promises."""
    model = tiny(name)
    seen: dict[str, tuple[int, int]] = {}

    class Measure(Delta):
        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            seen[self.site_name] = (x.shape[-1] if x.is_floating_point() else -1, h.shape[-1])
            return h

    skipped = ("sequence", "attention.keys_values", "cross_attention.keys_values")
    inputs = [f"{n}.input" for n in ("attention.output", "ffn.down", "ffn.gate_up", "ffn.up")]
    inputs = [n for n in inputs if _has(model, n)]
    chosen = [s for s in pft.sites(model) if s.name not in skipped] + pft.sites(model, inputs)
    for number, site in enumerate(chosen):
        plant(site, f"measure{number}", Measure())
    with torch.no_grad():
        model(**batch(name))
    for site in chosen:
        x, h = seen[site.name]
        assert h == site.d_out, site.name
        assert x == (-1 if site.x_width is None else site.x_width), site.name


def _has(model: nn.Module, name: str) -> bool:
    try:
        return bool(pft.sites(model, (name,)))
    except pft.UnknownName:
        return False


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "bert", "phi3", "modernbert"])
def test_weight_of_a_slice_is_what_computes_it(name: str) -> None:
    """site.weight maps x to h whatever the layout: Conv1D, fused, alternating by head."""
    fused = ("ffn.gate", "ffn.up") if name in ("phi3", "modernbert") else ()
    for kind in ("attention.query", "attention.key", "attention.value", *fused):
        site = pft.sites(tiny(name), (kind,))[0]
        x = torch.randn(3, site.d_in)
        seen: list[torch.Tensor] = []

        plant(site, "look", Look(seen.append))
        site.host(x)
        site.host(torch.zeros_like(x))
        assert torch.allclose(seen[0] - seen[1], x @ site.weight.T, atol=1e-5)
        assert site.weight.shape == (site.d_out, site.d_in)


def test_the_gated_feed_forward_of_t5_has_a_gate() -> None:
    config = T5Config(
        d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=50,
        feed_forward_proj="gated-gelu", decoder_start_token_id=1,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    gates = pft.sites(model, ("ffn.gate",))
    assert [(s.stack, s.layer) for s in gates] == [
        ("encoder", 0), ("encoder", 1), ("decoder", 0), ("decoder", 1),
    ]  # fmt: skip
    pft.LoRA(rank=2, at=("ffn.gate", "ffn.up", "ffn.down")).attach(model)
    inputs = batch("t5")
    model(**inputs).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_layers_choose() -> None:
    assert [s.layer for s in pft.sites(tiny("bert"), ("ffn",), (1,))] == [1]
    with pytest.raises(pft.BadValue, match=r"no layer 7: .*layers 0 to 1"):
        pft.sites(tiny("bert"), ("ffn",), (7,))


def test_an_unknown_site_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        pft.UnknownName, match=r"'attention.qery'.*ffn.down.*mean 'attention.query'"
    ):
        pft.sites(tiny("bert"), ("attention.qery",))
    with pytest.raises(pft.UnknownName, match=r"cross_attention"):
        pft.sites(tiny("bert"), ("cross_attention",))
    with pytest.raises(pft.UnknownName, match=r"attention\.query\.input"):
        pft.sites(tiny("gpt2"), ("attention.query.input",))  # the slices share one input


def test_an_unknown_architecture_is_told_how_to_become_known() -> None:
    from transformers import ViTConfig, ViTModel

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = ViTModel(ViTConfig(**shape, intermediate_size=16, image_size=16, patch_size=8))
    with pytest.raises(pft.UnknownName, match=r"'vit'.*bert.*pftlab/core/architectures.py"):
        pft.LoRA().attach(model)
    with pytest.raises(pft.BadValue, match="no transformers model"):
        pft.LoRA().attach(nn.Linear(3, 3))


@pytest.mark.parametrize("name", MODELS)
def test_norms_are_found_whatever_their_class(name: str) -> None:
    model = tiny(name)
    widths = {p.shape for n, p in model.named_parameters() if n in norm_parameters(model)}
    assert widths <= {torch.Size([32]), torch.Size([16])} and widths
    per_layer = {"t5": 2 * 2 + 3 * 2 + 2, "llama": 5, "qwen2": 5, "llama-classification": 5}
    per_layer |= {"qwen3": 9, "gemma2": 9, "gemma3": 13, "olmo2": 9, "modernbert": 5}
    if name in per_layer:
        assert len(norm_parameters(model)) == per_layer[name]


def test_cross_attention_joins_self_attention() -> None:
    both = with_cross_attention(tiny("t5"), ("attention.key", "ffn"))
    assert both == ("attention.key", "ffn", "cross_attention.key")
    assert with_cross_attention(tiny("bert"), ("attention.key",)) == ("attention.key",)


def test_a_delta_on_a_block_lets_the_rest_of_a_tuple_through() -> None:
    """Blocks that return tuples keep what else is in them."""
    for name in ("t5", "gpt2", "bert", "llama"):
        model, inputs = tiny(name), batch(name)
        for site in pft.sites(model, ("block", "attention")):
            plant(site, "shift", Shift(site.d_out))
        with torch.no_grad():
            assert torch.equal(model(**inputs).logits, tiny(name)(**inputs).logits)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("attention", "not the output of a linear map"),
        ("ffn.down.input", "not the output of a linear map"),
        ("stream", "not the output of a linear map"),
        ("block", "a BertLayer has no weight matrix"),
        ("embedding", "an? Embedding has no weight matrix"),
    ],
)
def test_a_site_without_a_weight_says_so(name: str, reason: str) -> None:
    site = pft.sites(tiny("bert"), (name,))[0]
    with pytest.raises(pft.Refused, match=f"(?i){reason}"):
        site.weight  # noqa: B018


def test_the_layer_that_scores_words_is_found_outside_the_base() -> None:
    for name in ("gpt2", "gpt_neox", "roberta-words", "t5"):
        model = tiny(name)
        site = word_scores(model)
        assert site is not None and site.host is model.get_output_embeddings()
        assert (model.get_submodule(site.path), site.d_out) == (site.host, 32)
    assert word_scores(tiny("gpt2-classification")) is None


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_slices_of_unequal_widths(groups: int) -> None:
    """Phi-3's query is wider than its grouped keys and values."""
    names = ("attention.query", "attention.key", "attention.value")
    shape = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    config = Phi3Config(
        **shape, num_key_value_heads=groups, vocab_size=50, pad_token_id=1, eos_token_id=2
    )
    model, x = Phi3ForCausalLM(config).eval(), torch.randn(3, 32)
    host = model.model.layers[0].self_attn.qkv_proj
    before, weight = host(x), host.weight.detach().clone()
    widths = [site.d_out for site in pft.sites(model, names)]
    assert widths == [32, 8 * groups, 8 * groups]
    pft.LoRA(rank=2, at=names).attach(model)
    rows = iter(torch.arange(sum(widths)).split(widths))
    expected = before.clone()
    for kind in ("query", "key", "value"):
        delta = getattr(host, f"pft_lora_{kind}")
        nn.init.normal_(delta.B)
        mine = next(rows)
        expected[:, mine] += delta.scale * x @ delta.A.T @ delta.B.T
        assert torch.equal(delta.base_weight, weight[mine])
    assert torch.allclose(host(x), expected, atol=1e-5)
    model(**batch("llama"))
    merged = pft.merge(model)
    assert torch.allclose(merged.model.layers[0].self_attn.qkv_proj(x), expected, atol=1e-5)


def test_slices_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Architecture({"attention.query": (Place("h.*.attn.c_attn", slice=_sevenths),)})
    monkeypatch.setitem(ARCHITECTURES, "gpt2", wrong)
    with pytest.raises(pft.BadValue, match="has 96 outputs. Mend the slices"):
        pft.LoRA(at=("attention.query",)).attach(tiny("gpt2"))


def _sevenths(config: Any) -> Slice:
    return Slice(7, (4, 8), 0)


def test_an_architecture_says_why_a_place_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ARCHITECTURES["bert"]
    places = {n: p for n, p in table.places.items() if n != "attention.keys_values"}
    reason = "It computes attention by itself, so that no keys and values can be added."
    entry = Architecture(places, missing={"attention.keys_values": reason})
    monkeypatch.setitem(ARCHITECTURES, "bert", entry)
    with pytest.raises(pft.UnknownName, match="no keys and values can be added"):
        pft.PrefixTuning().attach(tiny("bert"))


@pytest.mark.parametrize("name", ["gemma3", "bart", "llama"])
def test_words_are_what_the_layers_read_of_them(name: str) -> None:
    """Some embeddings scale their rows, and a prompt that starts from words must do so too."""
    model = tiny(name)
    (stack,) = pft.sites(model, ("sequence",))
    ids = torch.tensor([4, 7])
    assert torch.equal(stack.words[ids], stack.host.get_input_embeddings()(ids))  # type: ignore
    tuning = pft.PromptTuning(length=2, start="tokens", tokens=((4,), (7,)))
    prompt = next(d for *_, d in planted(tuning.attach(model)))
    assert torch.equal(prompt.P, stack.words[ids])


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_no_linear_maps(name: str) -> None:
    for at in ("ffn.up", "ffn.down.input"):
        with pytest.raises(pft.UnknownName, match="experts, whose weights stand in one tensor"):
            pft.LoRA(at=(at,)).attach(tiny(name))


def test_dense_layers_among_experts_have_their_linear_maps() -> None:
    config = tiny("qwen3_moe").config
    config.mlp_only_layers = [0]
    assert [s.layer for s in pft.sites(type(tiny("qwen3_moe"))(config), ("ffn.up",))] == [0]


@pytest.mark.parametrize("method", [pft.LoRA(rank=2, layers=(0,)), pft.TopLayers(count=1)])
def test_layers_that_share_their_weights_cannot_be_told_apart(method: Any) -> None:
    with pytest.raises(pft.Refused, match="what is done to one is done to all"):
        method.attach(tiny("albert"))


def test_what_is_planted_in_a_shared_layer_acts_in_every_layer() -> None:
    """It is called once for each layer, as the layer itself is."""
    model = tiny("albert")
    calls: list[torch.Tensor] = []
    plant(pft.sites(model, ("attention.query",))[0], "look", Look(calls.append))
    with torch.no_grad():
        model(**batch("albert"))
    assert len(calls) == model.config.num_hidden_layers == 2


def test_stacks_with_heads_of_their_own() -> None:
    found = pft.sites(tiny("bart"), ("attention.keys_values", "cross_attention.keys_values"))
    heads = [(s.stack, s.key_value_heads, s.head_width) for s in found]
    assert heads == [("encoder", 4, 8)] * 2 + [("decoder", 2, 16)] * 4


def test_positions_that_a_model_counts_by_itself_are_not_shifted() -> None:
    with pytest.raises(pft.Refused, match="shift_positions=False"):
        pft.PrefixTuning(length=3).attach(tiny("bart"))
    pft.PrefixTuning(length=3, shift_positions=False).attach(tiny("bart"))
