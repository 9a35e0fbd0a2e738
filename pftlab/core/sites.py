"""Where each architecture keeps the places that the papers name.

A *site* is one such place in one model: the query projection of layer 3, the feed-forward
sub-layer of layer 0. The tables below translate the field's words into module paths; another
architecture is one more entry. Paths start at the base model (`model.base_model`), and `*` stands
for the number of the layer.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from .errors import BadValue, Refused, UnknownName

OUTPUT = "output"  # h is what the module returns
INPUT = "input"  # h is what the module reads
KEYS_VALUES = "keys and values"  # h is what the attention module attends to
NORMED = "normed input"  # h is what a layer norm reads, x what it would make of it
SEQUENCE = "sequence"  # h is the sequence of embedded tokens that the stack reads
WEIGHT = "weight"  # h is a parameter; see pftlab.core.weights


class Place(NamedTuple):
    """Where a site is found in any layer of one architecture."""

    path: str
    port: str = OUTPUT
    x: str = ""  # path of the module whose input is x, if it is not the host. A sub-layer's x is
    # what it reads from the residual stream: before its layer norm, where that comes first.
    part: int = 0  # a fused projection writes `parts` equal slices: which one is h
    parts: int = 1
    per_head: bool = False  # the slices alternate head by head (GPT-NeoX)


@dataclass(frozen=True)
class Architecture:
    """What PFT Lab must know of one family of models.

    Attributes:
        places: site name → where it is; an encoder-decoder model has two places for most.
        first_token_is_read: classification reads the first token ([CLS]), so a prompt goes
            behind it and not in front.
        learned_positions: a table of position embeddings limits the length of the sequence.
        prompts_go_to: path of the stack that reads a soft prompt.
    """

    places: dict[str, tuple[Place, ...]]
    first_token_is_read: bool = False
    learned_positions: bool = False
    position_offset: int = 0  # positions of the table that no token may use (RoBERTa)
    prompts_go_to: str = ""


@dataclass(frozen=True)
class Site:
    """One place in one model.

    Attributes:
        name: the field's word for it, such as "attention.query".
        layer: number of the layer from 0, or None outside the layers.
        stack: "encoder" or "decoder" in an encoder-decoder model, else None.
        path: path of the host module in the model.
        host: the module that reads x and writes h.
        place: which of its inputs or outputs h is.
        d_in: width of x.
        d_out: width of h.
        config: the model's configuration.
        model: the model itself, for deltas that start from its weights.
    """

    name: str
    layer: int | None
    stack: str | None
    path: str
    host: nn.Module = field(repr=False, compare=False)
    place: Place
    d_in: int
    d_out: int
    config: Any = field(repr=False, compare=False)
    model: nn.Module = field(repr=False, compare=False)

    @property
    def groups(self) -> int:
        """How often the slices of a fused projection repeat along the last dimension."""
        return self.config.num_attention_heads if self.place.per_head else 1

    @property
    def key_value_heads(self) -> int:
        """Number of heads that keys and values have (fewer than queries have, if grouped)."""
        grouped = getattr(self.config, "num_key_value_heads", None)
        return grouped or self.config.num_attention_heads

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        config = self.config
        for name in ("head_dim", "d_kv"):
            if getattr(config, name, None):
                return getattr(config, name)
        return config.hidden_size // config.num_attention_heads

    @property
    def slice(self) -> "Slice":
        """Which of the host's outputs belong to this site."""
        return Slice(self.groups, self.place.parts, self.place.part)

    @property
    def weight(self) -> torch.Tensor:
        """The host's frozen weight for this site, as (d_out, d_in), whatever layout it has.

        Raises:
            Refused: h is not what a linear map makes of x, or its weight is quantised.
        """
        if self.place.port != OUTPUT or self.place.x:
            raise Refused(
                f"{self.name} is not the output of a linear map, and this method needs the "
                "map's weight. Choose projections, such as attention.query or ffn.up."
            )
        return self.slice.weight(self.host)


class Slice(NamedTuple):
    """Which outputs of a fused projection are meant: its rows are (groups · parts · width).

    Attributes:
        groups: how often the parts repeat.
        parts: into how many a group is cut; 1: the host is not fused.
        part: which of them.
    """

    groups: int = 1
    parts: int = 1
    part: int = 0

    def weight(self, host: Any) -> torch.Tensor:
        """The weight of the linear map `host`, these outputs only: (d_out, d_in).

        Raises:
            Refused: `host` is no linear map, or its weight is quantised.
        """
        if widths(host) is None or isinstance(host, nn.Embedding):
            raise Refused(
                f"A {type(host).__name__} has no weight matrix to start from. Choose projections, "
                "such as attention.query or ffn.up."
            )
        if not host.weight.is_floating_point():
            raise Refused("The base is quantised, and its weights are needed. Load it in 16 bits.")
        return self.of(host.weight.T if is_conv1d(host) else host.weight)

    def bias(self, host: Any) -> torch.Tensor | None:
        """The bias of the linear map `host`, these outputs only: (d_out,); None: it has none."""
        return None if host.bias is None else self.of(host.bias)

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of `rows` (all outputs, …) that are meant."""
        if self.parts == 1:
            return rows
        return rows.unflatten(0, (self.groups, self.parts, -1))[:, self.part].flatten(0, 1)


def _bert_like(embeddings: str = "embeddings.word_embeddings") -> dict[str, tuple[Place, ...]]:
    layer = "encoder.layer.*"
    attention = f"{layer}.attention.self"
    return _single(
        {
            "sequence": Place("", SEQUENCE),
            "embedding": Place(embeddings),
            "attention.query": Place(f"{attention}.query"),
            "attention.key": Place(f"{attention}.key"),
            "attention.value": Place(f"{attention}.value"),
            "attention.keys_values": Place(attention, KEYS_VALUES),
            "attention.output": Place(f"{layer}.attention.output.dense"),
            # the dropout is the last step before the residual sum
            "attention": Place(f"{layer}.attention.output.dropout", x=attention),
            "ffn.up": Place(f"{layer}.intermediate.dense"),
            "ffn.down": Place(f"{layer}.output.dense"),
            "ffn": Place(f"{layer}.output.dropout", x=f"{layer}.intermediate"),
            # behind the residual sum, where the layer norm follows it
            "stream": Place(f"{layer}.output.LayerNorm", NORMED),
            "block": Place(layer),
        }
    )


def _llama_like() -> dict[str, tuple[Place, ...]]:
    layer = "layers.*"
    return _single(
        {
            "sequence": Place("", SEQUENCE),
            "embedding": Place("embed_tokens"),
            "attention.query": Place(f"{layer}.self_attn.q_proj"),
            "attention.key": Place(f"{layer}.self_attn.k_proj"),
            "attention.value": Place(f"{layer}.self_attn.v_proj"),
            "attention.keys_values": Place(f"{layer}.self_attn", KEYS_VALUES),
            "attention.output": Place(f"{layer}.self_attn.o_proj"),
            "attention": Place(f"{layer}.self_attn", x=f"{layer}.input_layernorm"),
            "ffn.gate": Place(f"{layer}.mlp.gate_proj"),
            "ffn.up": Place(f"{layer}.mlp.up_proj"),
            "ffn.down": Place(f"{layer}.mlp.down_proj"),
            "ffn": Place(f"{layer}.mlp", x=f"{layer}.post_attention_layernorm"),
            "stream": Place(layer),
            "block": Place(layer),
        }
    )


def _gpt2() -> dict[str, tuple[Place, ...]]:
    layer = "h.*"
    fused = f"{layer}.attn.c_attn"
    return _single(
        {
            "sequence": Place("", SEQUENCE),
            "embedding": Place("wte"),
            "attention.query": Place(fused, part=0, parts=3),
            "attention.key": Place(fused, part=1, parts=3),
            "attention.value": Place(fused, part=2, parts=3),
            "attention.query_key_value": Place(fused),
            "attention.keys_values": Place(f"{layer}.attn", KEYS_VALUES),
            "attention.output": Place(f"{layer}.attn.c_proj"),
            "attention": Place(f"{layer}.attn", x=f"{layer}.ln_1"),
            "ffn.up": Place(f"{layer}.mlp.c_fc"),
            "ffn.down": Place(f"{layer}.mlp.c_proj"),
            "ffn": Place(f"{layer}.mlp", x=f"{layer}.ln_2"),
            "stream": Place(layer),
            "block": Place(layer),
        }
    )


def _distilbert() -> dict[str, tuple[Place, ...]]:
    layer = "transformer.layer.*"
    return _single(
        {
            "sequence": Place("", SEQUENCE),
            "embedding": Place("embeddings.word_embeddings"),
            "attention.query": Place(f"{layer}.attention.q_lin"),
            "attention.key": Place(f"{layer}.attention.k_lin"),
            "attention.value": Place(f"{layer}.attention.v_lin"),
            "attention.keys_values": Place(f"{layer}.attention", KEYS_VALUES),
            "attention.output": Place(f"{layer}.attention.out_lin"),
            "attention": Place(f"{layer}.attention"),
            "ffn.up": Place(f"{layer}.ffn.lin1"),
            "ffn.down": Place(f"{layer}.ffn.lin2"),
            "ffn": Place(f"{layer}.ffn"),
            "stream": Place(f"{layer}.output_layer_norm", NORMED),
            "block": Place(layer),
        }
    )


def _opt() -> dict[str, tuple[Place, ...]]:
    layer = "decoder.layers.*"
    return _single(
        {
            "sequence": Place("decoder", SEQUENCE),
            "embedding": Place("decoder.embed_tokens"),
            "attention.query": Place(f"{layer}.self_attn.q_proj"),
            "attention.key": Place(f"{layer}.self_attn.k_proj"),
            "attention.value": Place(f"{layer}.self_attn.v_proj"),
            "attention.keys_values": Place(f"{layer}.self_attn", KEYS_VALUES),
            "attention.output": Place(f"{layer}.self_attn.out_proj"),
            "attention": Place(f"{layer}.self_attn", x=f"{layer}.self_attn_layer_norm"),
            "ffn.up": Place(f"{layer}.fc1"),
            "ffn.down": Place(f"{layer}.fc2"),
            # no module spans the feed-forward sub-layer: it ends at fc2
            "ffn": Place(f"{layer}.fc2", x=f"{layer}.final_layer_norm"),
            "stream": Place(layer),
            "block": Place(layer),
        }
    )


def _gpt_neox() -> dict[str, tuple[Place, ...]]:
    layer = "layers.*"
    fused = f"{layer}.attention.query_key_value"
    return _single(
        {
            "sequence": Place("", SEQUENCE),
            "embedding": Place("embed_in"),
            "attention.query": Place(fused, part=0, parts=3, per_head=True),
            "attention.key": Place(fused, part=1, parts=3, per_head=True),
            "attention.value": Place(fused, part=2, parts=3, per_head=True),
            "attention.query_key_value": Place(fused),
            "attention.keys_values": Place(f"{layer}.attention", KEYS_VALUES),
            "attention.output": Place(f"{layer}.attention.dense"),
            "attention": Place(f"{layer}.post_attention_dropout", x=f"{layer}.input_layernorm"),
            "ffn.up": Place(f"{layer}.mlp.dense_h_to_4h"),
            "ffn.down": Place(f"{layer}.mlp.dense_4h_to_h"),
            "ffn": Place(f"{layer}.post_mlp_dropout", x=f"{layer}.post_attention_layernorm"),
            "stream": Place(layer),
            "block": Place(layer),
        }
    )


def _t5(gated: bool) -> dict[str, tuple[Place, ...]]:
    def attention(inner: str, port: str = OUTPUT) -> tuple[Place, ...]:
        return tuple(
            Place(f"{stack}.block.*.layer.0.SelfAttention{inner}", port)
            for stack in ("encoder", "decoder")
        )

    def feed_forward(inner: str) -> tuple[Place, ...]:
        return tuple(
            Place(f"{stack}.block.*.layer.{last}.DenseReluDense{inner}")
            for stack, last in (("encoder", 1), ("decoder", 2))
        )

    cross = "decoder.block.*.layer.1"
    places = {
        "sequence": (Place("encoder", SEQUENCE),),
        "embedding": (Place("encoder.embed_tokens"), Place("decoder.embed_tokens")),
        "attention.query": attention(".q"),
        "attention.key": attention(".k"),
        "attention.value": attention(".v"),
        "attention.keys_values": attention("", KEYS_VALUES),
        "attention.output": attention(".o"),
        "attention": tuple(
            Place(f"{stack}.block.*.layer.0.dropout", x=f"{stack}.block.*.layer.0.layer_norm")
            for stack in ("encoder", "decoder")
        ),
        "cross_attention.query": (Place(f"{cross}.EncDecAttention.q"),),
        "cross_attention.key": (Place(f"{cross}.EncDecAttention.k"),),
        "cross_attention.value": (Place(f"{cross}.EncDecAttention.v"),),
        "cross_attention.keys_values": (Place(f"{cross}.EncDecAttention", KEYS_VALUES),),
        "cross_attention.output": (Place(f"{cross}.EncDecAttention.o"),),
        "cross_attention": (Place(f"{cross}.dropout", x=f"{cross}.layer_norm"),),
        "ffn.down": feed_forward(".wo"),
        "ffn": tuple(
            Place(
                f"{stack}.block.*.layer.{last}.dropout",
                x=f"{stack}.block.*.layer.{last}.layer_norm",
            )
            for stack, last in (("encoder", 1), ("decoder", 2))
        ),
        "stream": (Place("encoder.block.*"), Place("decoder.block.*")),
        "block": (Place("encoder.block.*"), Place("decoder.block.*")),
    }
    if gated:  # T5 v1.1 and Flan: act(wi_0 x) * (wi_1 x)
        return places | {"ffn.gate": feed_forward(".wi_0"), "ffn.up": feed_forward(".wi_1")}
    return places | {"ffn.up": feed_forward(".wi")}


def _single(places: dict[str, Place]) -> dict[str, tuple[Place, ...]]:
    return {name: (place,) for name, place in places.items()}


_LLAMA = Architecture(_llama_like())
ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(_bert_like(), first_token_is_read=True, learned_positions=True),
    "roberta": Architecture(
        _bert_like(), first_token_is_read=True, learned_positions=True, position_offset=2
    ),
    "distilbert": Architecture(_distilbert(), first_token_is_read=True, learned_positions=True),
    "electra": Architecture(_bert_like(), first_token_is_read=True, learned_positions=True),
    "gpt2": Architecture(_gpt2(), learned_positions=True),
    "opt": Architecture(_opt(), learned_positions=True),
    "gpt_neox": Architecture(_gpt_neox()),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "t5": Architecture(_t5(gated=False), prompts_go_to="encoder"),
}
_T5_GATED = replace(ARCHITECTURES["t5"], places=_t5(gated=True))


def config_of(model: nn.Module) -> Any:
    """The configuration of `model`.

    Raises:
        BadValue: it has none, so it is no transformers model.
    """
    if not hasattr(model, "config"):
        raise BadValue(
            f"A {type(model).__name__} is no transformers model: it has no config. "
            "Load one with pftlab.load_base or from_pretrained."
        )
    return model.config


def architecture(model: nn.Module) -> Architecture:
    """The table entry for `model`.

    Raises:
        UnknownName: no entry exists for this kind of model.
    """
    config = config_of(model)
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise UnknownName(
            "architecture",
            kind,
            ARCHITECTURES,
            "Add an entry to ARCHITECTURES in pftlab/core/sites.py: a table of module paths.",
        )
    if kind == "t5" and getattr(config, "is_gated_act", False):
        return _T5_GATED
    return ARCHITECTURES[kind]


def base_prefix(model: nn.Module) -> str:
    """What stands before a base-model path to make it a path in `model`: "bert." or ""."""
    base = getattr(model, "base_model", model)
    return "" if base is model else f"{model.base_model_prefix}."


def sites(
    model: nn.Module, at: Iterable[str] | None = None, layers: Iterable[int] | None = None
) -> list[Site]:
    """The sites of `model`, ordered by name as given, then from the first layer up.

    Args:
        model: a transformers model of a supported architecture.
        at: names of sites; a linear map's input is its name with ".input" behind it, such as
            "ffn.down.input". None: every site that the model has.
        layers: numbers of the layers to keep, from 0. None: all.

    Raises:
        UnknownName: the architecture or one of the names is not known.
        BadValue: a layer does not exist.
    """
    table = architecture(model).places
    base = getattr(model, "base_model", model)
    modules = dict(base.named_modules())
    found: list[Site] = []
    for name in table if at is None else at:
        stem, is_input = name.removesuffix(".input"), name.endswith(".input")
        places = table.get(stem, ())
        here = [s for p in places for s in _matches(model, modules, name, p, is_input)]
        if not here and at is not None:
            have = [n for n in table if any(_matches(model, modules, n, p) for p in table[n])]
            raise UnknownName(f"site in a {type(model).__name__}", name, have)
        found += here
    if layers is not None:
        known = {site.layer for site in found if site.layer is not None}
        if missing := sorted(set(layers) - known):
            raise BadValue(
                f"There is no layer {missing[0]}: these sites are in layers "
                f"{min(known, default=0)} to {max(known, default=0)}. Count layers from 0."
            )
        found = [site for site in found if site.layer is None or site.layer in set(layers)]
    return found


def _matches(
    model: nn.Module, modules: dict[str, nn.Module], name: str, place: Place, is_input: bool = False
) -> list[Site]:
    pattern = re.compile(re.escape(place.path).replace(r"\*", r"(\d+)"))
    config, prefix = config_of(model), base_prefix(model)
    found = []
    for path, host in modules.items():
        if not (match := pattern.fullmatch(path)):
            continue
        number = match[1] if match.groups() else None
        width = widths(host)
        if is_input:
            if width is None or place.parts > 1:
                continue
            here, d_in, d_out = place._replace(port=INPUT), width[0], width[0]
        else:
            d_in, d_out = width or (config.hidden_size, config.hidden_size)
            d_in = config.hidden_size if place.x else d_in  # what the tap reads is no inner width
            here = place._replace(x=place.x.replace("*", number or "*"))
            d_out //= place.parts
        stack = path.split(".")[0] if getattr(config, "is_encoder_decoder", False) else None
        layer = None if number is None else int(number)
        full = f"{prefix}{path}" if path else prefix.rstrip(".")
        found.append(Site(name, layer, stack, full, host, here, d_in, d_out, config, model))
    return found


def word_scores(model: nn.Module) -> Site | None:
    """The input of the layer that scores every word, "word_scores"; None: the model has none.

    It is no part of the base model, and so in no table.
    """
    host: Any = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if host is None:
        return None
    path = next(path for path, module in model.named_modules() if module is host)
    width, config = host.in_features, config_of(model)
    place = Place(path, INPUT)
    return Site("word_scores", None, None, path, host, place, width, width, config, model)


def is_conv1d(module: nn.Module) -> bool:
    """Whether this is GPT-2's Conv1D, a linear map that stores its weight as (in, out)."""
    return hasattr(module, "nx") and hasattr(module, "nf")


def widths(module: nn.Module) -> tuple[int, int] | None:
    """(d_in, d_out) of a linear map or an embedding; None for any other module."""
    if is_conv1d(module):
        return module.nx, module.nf  # type: ignore[return-value]
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features  # type: ignore[return-value]
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    return None


def is_norm(module: nn.Module) -> bool:
    """Whether this is a layer normalisation, of whatever class the architecture has."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith(
        ("LayerNorm", "RMSNorm")
    )


def with_cross_attention(model: nn.Module, at: Iterable[str]) -> tuple[str, ...]:
    """`at`, and for each site of self-attention its twin in cross-attention, where there is one."""
    places = architecture(model).places
    modules = dict(getattr(model, "base_model", model).named_modules())
    twins = [f"cross_{name}" for name in at if name.startswith("attention")]
    there = [t for t in twins if any(_matches(model, modules, t, p) for p in places.get(t, ()))]
    return tuple(dict.fromkeys((*at, *there)))


def norm_parameters(model: nn.Module) -> list[str]:
    """Names of the parameters of every layer norm in the base."""
    base = getattr(model, "base_model", model)
    norms = {id(p) for m in base.modules() if is_norm(m) for p in m.parameters(recurse=False)}
    return [
        name
        for name, parameter in model.named_parameters()
        if id(parameter) in norms and ".pft_" not in f".{name}"
    ]
