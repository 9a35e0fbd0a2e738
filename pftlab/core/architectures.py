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
        missing: name of a site of other architectures → why this one does not have it, a sentence.
    """

    places: dict[str, tuple[Place, ...]]
    first_token_is_read: bool = False
    learned_positions: bool = False
    position_offset: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)


def _third(part: int) -> Callable[[Any], Slice]:
    """Query, key and value one after the other, all of one width."""
    return lambda config: Slice(1, (config.hidden_size,) * 3, part)


def _third_of_head(part: int) -> Callable[[Any], Slice]:
    """Query, key and value of the first head, then those of the second, and so on."""
    return lambda config: Slice(config.num_attention_heads, (head_width(config),) * 3, part)


def _bert_like(embeddings: str = "embeddings.word_embeddings") -> dict[str, tuple[Place, ...]]:
    layer = "encoder.layer.*"
    attention = f"{layer}.attention.self"
    return _single(
        {
            "sequence": Place("", Port.SEQUENCE),
            "embedding": Place(embeddings),
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
    "t5": Architecture(_t5(gated=False)),
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
    if kind == "t5" and getattr(config, "is_gated_act", False):
        return _T5_GATED
    return ARCHITECTURES[kind]
