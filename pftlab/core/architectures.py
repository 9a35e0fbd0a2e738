"""Where each architecture keeps the places that the papers name.

The tables below translate the field's words into module paths; another architecture is one more
entry. Paths start at the base model (`model.base_model`), and `*` stands for the number of the
layer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from .errors import UnknownName
from .places import Place, Port, Slice, config_of, head_width


@dataclass(frozen=True)
class Architecture:
    """What PFT Lab must know of one family of models.

    Attributes:
        places: site name → where it is; an encoder-decoder model has two places for most.
        first_token_is_read: classification reads the first token ([CLS]), so a prompt goes
            behind it and not in front.
        learned_positions: a table of position embeddings limits the length of the sequence.
        position_offset: positions of the table that no token may use (RoBERTa).
        shares_layers: all layers are computed with one set of modules (ALBERT), so that what is
            planted in one acts in every layer, and no layer can be chosen.
        readers: path of a module that is never called → path of the one that reads its parameters.
        missing: name of a site of other architectures → why this one does not have it, a sentence.
    """

    places: dict[str, tuple[Place, ...]]
    first_token_is_read: bool = False
    learned_positions: bool = False
    position_offset: int = 0
    shares_layers: bool = False
    readers: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def _third(part: int) -> Callable[[Any], Slice]:
    """Query, key and value one after the other, all of one width."""
    return lambda config: Slice(1, (config.hidden_size,) * 3, part)


def _third_of_head(part: int) -> Callable[[Any], Slice]:
    """Query, key and value of the first head, then those of the second, and so on."""
    return lambda config: Slice(config.num_attention_heads, (head_width(config),) * 3, part)


def _heads(part: int) -> Callable[[Any], Slice]:
    """Query, key and value one after the other; grouped queries have more heads than their keys."""

    def cut(config: Any) -> Slice:
        heads = (config.num_attention_heads, *(config.num_key_value_heads,) * 2)
        return Slice(1, tuple(n * head_width(config) for n in heads), part)

    return cut


def _half(part: int) -> Callable[[Any], Slice]:
    """Gate and up projection of a feed-forward network, one after the other."""
    return lambda config: Slice(1, (config.intermediate_size,) * 2, part)


def _bert_like() -> dict[str, tuple[Place, ...]]:
    layer = "encoder.layer.*"
    attention = f"{layer}.attention.self"
    return _single(
        {
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("embeddings.word_embeddings"),
            "attention.query": Place(f"{attention}.query"),
            "attention.key": Place(f"{attention}.key"),
            "attention.value": Place(f"{attention}.value"),
            "attention.keys_values": Place(attention, Port.KEYS_VALUES),
            "attention.output": Place(f"{layer}.attention.output.dense"),
            # the dropout is the last step before the residual sum
            "attention": Place(f"{layer}.attention.output.dropout", x=attention),
            "ffn.up": Place(f"{layer}.intermediate.dense"),
            "ffn.down": Place(f"{layer}.output.dense"),
            "ffn": Place(f"{layer}.output.dropout", x=f"{layer}.intermediate"),
            # behind the residual sum, where the layer norm follows it
            "stream": Place(f"{layer}.output.LayerNorm", Port.NORMED),
            "block": Place(layer),
        }
    )


def _deberta() -> dict[str, tuple[Place, ...]]:
    attention = "encoder.layer.*.attention.self"
    places = _bert_like() | _single(
        {
            "attention.query": Place(f"{attention}.query_proj"),
            "attention.key": Place(f"{attention}.key_proj"),
            "attention.value": Place(f"{attention}.value_proj"),
        }
    )
    del places["attention.keys_values"]
    return places


def _albert() -> dict[str, tuple[Place, ...]]:
    layer = "encoder.albert_layer_groups.*.albert_layers.*"
    attention = f"{layer}.attention"
    return _single(
        {
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("embeddings.word_embeddings"),
            "attention.query": Place(f"{attention}.query"),
            "attention.key": Place(f"{attention}.key"),
            "attention.value": Place(f"{attention}.value"),
            "attention.keys_values": Place(attention, Port.KEYS_VALUES),
            "attention.output": Place(f"{attention}.dense"),
            "attention": Place(f"{attention}.output_dropout", x=attention),
            "ffn.up": Place(f"{layer}.ffn"),
            "ffn.down": Place(f"{layer}.ffn_output"),
            # no module spans the feed-forward sub-layer: it ends at ffn_output
            "ffn": Place(f"{layer}.ffn_output", x=f"{layer}.ffn"),
            "stream": Place(f"{layer}.full_layer_layer_norm", Port.NORMED),
            "block": Place(layer),
        }
    )


def _modernbert() -> dict[str, tuple[Place, ...]]:
    layer = "layers.*"
    fused, gated = f"{layer}.attn.Wqkv", f"{layer}.mlp.Wi"
    return _single(
        {
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("embeddings.tok_embeddings"),
            "attention.query": Place(fused, slice=_third(0)),
            "attention.key": Place(fused, slice=_third(1)),
            "attention.value": Place(fused, slice=_third(2)),
            "attention.query_key_value": Place(fused),
            "attention.keys_values": Place(f"{layer}.attn", Port.KEYS_VALUES),
            "attention.output": Place(f"{layer}.attn.Wo"),
            "attention": Place(f"{layer}.attn", x=f"{layer}.attn_norm"),
            "ffn.gate": Place(gated, slice=_half(0)),
            "ffn.up": Place(gated, slice=_half(1)),
            "ffn.gate_up": Place(gated),
            "ffn.down": Place(f"{layer}.mlp.Wo"),
            "ffn": Place(f"{layer}.mlp", x=f"{layer}.mlp_norm"),
            "stream": Place(layer),
            "block": Place(layer),
        }
    )


def _llama_like() -> dict[str, tuple[Place, ...]]:
    layer = "layers.*"
    return _single(
        {
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("embed_tokens"),
            "attention.query": Place(f"{layer}.self_attn.q_proj"),
            "attention.key": Place(f"{layer}.self_attn.k_proj"),
            "attention.value": Place(f"{layer}.self_attn.v_proj"),
            "attention.keys_values": Place(f"{layer}.self_attn", Port.KEYS_VALUES),
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


def _norms_of_heads() -> dict[str, tuple[Place, ...]]:
    """Queries and keys that are normalised between their projections and the attention."""
    return _single(
        {
            "attention.query_norm": Place("layers.*.self_attn.q_norm"),
            "attention.key_norm": Place("layers.*.self_attn.k_norm"),
        }
    )


def _norms_behind(attention: str, ffn: str) -> dict[str, tuple[Place, ...]]:
    """Sub-layers that end with a layer norm, behind which the residual sum is.

    Each of the two arguments is the module that reads the residual stream for its sub-layer.
    """
    layer = "layers.*"
    return _single(
        {
            "attention": Place(f"{layer}.post_attention_layernorm", x=f"{layer}.{attention}"),
            "ffn": Place(f"{layer}.post_feedforward_layernorm", x=f"{layer}.{ffn}"),
        }
    )


def _phi3() -> dict[str, tuple[Place, ...]]:
    layer = "layers.*"
    fused, gated = f"{layer}.self_attn.qkv_proj", f"{layer}.mlp.gate_up_proj"
    return _llama_like() | _single(
        {
            "attention.query": Place(fused, slice=_heads(0)),
            "attention.key": Place(fused, slice=_heads(1)),
            "attention.value": Place(fused, slice=_heads(2)),
            "attention.query_key_value": Place(fused),
            "attention": Place(f"{layer}.resid_attn_dropout", x=f"{layer}.input_layernorm"),
            "ffn.gate": Place(gated, slice=_half(0)),
            "ffn.up": Place(gated, slice=_half(1)),
            "ffn.gate_up": Place(gated),
            "ffn": Place(f"{layer}.resid_mlp_dropout", x=f"{layer}.post_attention_layernorm"),
        }
    )


def _gpt2() -> dict[str, tuple[Place, ...]]:
    layer = "h.*"
    fused = f"{layer}.attn.c_attn"
    return _single(
        {
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("wte"),
            "attention.query": Place(fused, slice=_third(0)),
            "attention.key": Place(fused, slice=_third(1)),
            "attention.value": Place(fused, slice=_third(2)),
            "attention.query_key_value": Place(fused),
            "attention.keys_values": Place(f"{layer}.attn", Port.KEYS_VALUES),
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
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("embeddings.word_embeddings"),
            "attention.query": Place(f"{layer}.attention.q_lin"),
            "attention.key": Place(f"{layer}.attention.k_lin"),
            "attention.value": Place(f"{layer}.attention.v_lin"),
            "attention.keys_values": Place(f"{layer}.attention", Port.KEYS_VALUES),
            "attention.output": Place(f"{layer}.attention.out_lin"),
            "attention": Place(f"{layer}.attention"),
            "ffn.up": Place(f"{layer}.ffn.lin1"),
            "ffn.down": Place(f"{layer}.ffn.lin2"),
            "ffn": Place(f"{layer}.ffn"),
            "stream": Place(f"{layer}.output_layer_norm", Port.NORMED),
            "block": Place(layer),
        }
    )


def _opt() -> dict[str, tuple[Place, ...]]:
    layer = "decoder.layers.*"
    return _single(
        {
            "sequence": Place("decoder", Port.SEQUENCE),
            "embedding": Place("decoder.embed_tokens"),
            "attention.query": Place(f"{layer}.self_attn.q_proj"),
            "attention.key": Place(f"{layer}.self_attn.k_proj"),
            "attention.value": Place(f"{layer}.self_attn.v_proj"),
            "attention.keys_values": Place(f"{layer}.self_attn", Port.KEYS_VALUES),
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
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place("embed_in"),
            "attention.query": Place(fused, slice=_third_of_head(0)),
            "attention.key": Place(fused, slice=_third_of_head(1)),
            "attention.value": Place(fused, slice=_third_of_head(2)),
            "attention.query_key_value": Place(fused),
            "attention.keys_values": Place(f"{layer}.attention", Port.KEYS_VALUES),
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
    def attention(inner: str, port: Port = Port.OUTPUT) -> tuple[Place, ...]:
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
        "sequence": (Place("encoder", Port.SEQUENCE),),
        "embedding": (Place("encoder.embed_tokens"), Place("decoder.embed_tokens")),
        "attention.query": attention(".q"),
        "attention.key": attention(".k"),
        "attention.value": attention(".v"),
        "attention.keys_values": attention("", Port.KEYS_VALUES),
        "attention.output": attention(".o"),
        "attention": tuple(
            Place(f"{stack}.block.*.layer.0.dropout", x=f"{stack}.block.*.layer.0.layer_norm")
            for stack in ("encoder", "decoder")
        ),
        "cross_attention.query": (Place(f"{cross}.EncDecAttention.q"),),
        "cross_attention.key": (Place(f"{cross}.EncDecAttention.k"),),
        "cross_attention.value": (Place(f"{cross}.EncDecAttention.v"),),
        "cross_attention.keys_values": (Place(f"{cross}.EncDecAttention", Port.KEYS_VALUES),),
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


def _bart() -> dict[str, tuple[Place, ...]]:
    stacks = ("encoder", "decoder")

    def both(inner: str, port: Port = Port.OUTPUT, x: str = "") -> tuple[Place, ...]:
        return tuple(
            Place(f"{stack}.layers.*{inner}", port, x=x and f"{stack}.layers.*{x}")
            for stack in stacks
        )

    cross = "decoder.layers.*.encoder_attn"
    return {
        "sequence": (Place("encoder", Port.SEQUENCE),),
        "embedding": tuple(Place(f"{stack}.embed_tokens") for stack in stacks),
        "attention.query": both(".self_attn.q_proj"),
        "attention.key": both(".self_attn.k_proj"),
        "attention.value": both(".self_attn.v_proj"),
        "attention.keys_values": both(".self_attn", Port.KEYS_VALUES),
        "attention.output": both(".self_attn.out_proj"),
        "attention": both(".self_attn"),
        "cross_attention.query": (Place(f"{cross}.q_proj"),),
        "cross_attention.key": (Place(f"{cross}.k_proj"),),
        "cross_attention.value": (Place(f"{cross}.v_proj"),),
        "cross_attention.keys_values": (Place(cross, Port.KEYS_VALUES),),
        "cross_attention.output": (Place(f"{cross}.out_proj"),),
        "cross_attention": (Place(cross),),
        "ffn.up": both(".fc1"),
        "ffn.down": both(".fc2"),
        # no module spans the feed-forward sub-layer: it ends at fc2
        "ffn": both(".fc2", x=".fc1"),
        "stream": both(".final_layer_norm", Port.NORMED),
        "block": both(""),
    }


def _single(places: dict[str, Place]) -> dict[str, tuple[Place, ...]]:
    return {name: (place,) for name, place in places.items()}


_LLAMA = Architecture(_llama_like())
_QWEN3 = Architecture(_llama_like() | _norms_of_heads())
_GEMMA = _norms_behind("input_layernorm", "pre_feedforward_layernorm")
_ROBERTA = Architecture(
    _bert_like(), first_token_is_read=True, learned_positions=True, position_offset=2
)
# Some layers of such a model may be dense, and then the names find those.
_EXPERTS = {
    f"ffn.{part}": (
        "Its feed-forward networks are experts, whose weights stand in one tensor: no linear map "
        "to adapt. Choose sites of the attention, or 'ffn', what the chosen experts return."
    )
    for part in ("gate", "up", "down")
}
ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(_bert_like(), first_token_is_read=True, learned_positions=True),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": Architecture(_distilbert(), first_token_is_read=True, learned_positions=True),
    "electra": Architecture(_bert_like(), first_token_is_read=True, learned_positions=True),
    "albert": Architecture(
        _albert(), first_token_is_read=True, learned_positions=True, shares_layers=True
    ),
    "deberta-v2": Architecture(
        _deberta(),
        first_token_is_read=True,
        learned_positions=True,
        readers={"encoder.rel_embeddings": "encoder"},
        missing={
            "attention.keys_values": "It computes its attention without the attention interface "
            "of transformers, so that no keys and values can be added."
        },
    ),
    "modernbert": Architecture(_modernbert(), first_token_is_read=True),
    "gpt2": Architecture(_gpt2(), learned_positions=True),
    "opt": Architecture(_opt(), learned_positions=True),
    "gpt_neox": Architecture(_gpt_neox()),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _QWEN3,
    "smollm3": _LLAMA,
    "granite": _LLAMA,
    "olmo2": Architecture(_llama_like() | _norms_of_heads() | _norms_behind("self_attn", "mlp")),
    "gemma2": Architecture(_llama_like() | _GEMMA),
    "gemma3_text": Architecture(_llama_like() | _norms_of_heads() | _GEMMA),
    "phi3": Architecture(_phi3()),
    "mixtral": replace(_LLAMA, missing=_EXPERTS),
    "qwen3_moe": replace(_QWEN3, missing=_EXPERTS),
    "t5": Architecture(_t5(gated=False)),
    "mt5": Architecture(_t5(gated=False)),
    "bart": Architecture(_bart(), learned_positions=True),
}
_T5_GATED = replace(ARCHITECTURES["t5"], places=_t5(gated=True))


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
            "Add an entry to ARCHITECTURES in pftlab/core/architectures.py: a table of module "
            "paths.",
        )
    if kind in ("t5", "mt5") and getattr(config, "is_gated_act", False):
        return _T5_GATED
    return ARCHITECTURES[kind]
