"""What must be known of a model to count on it: measured on a model without weights."""

from collections.abc import Sequence
from math import isqrt
from typing import Any

from ...core import norm_parameters
from ...core.count import count
from ...core.errors import Refused
from ...core.sites import sites
from ...experiments.sizes import SIZES, blank
from ...finetune.layers import above

LINEAR = (
    "attention.query", "attention.key", "attention.value", "attention.output",
    "ffn.gate", "ffn.up", "ffn.down",
)  # fmt: skip
# NF4 with blocks of 64 and quantised constants: 4 + 8 / 64 + 32 / (64 · 256) bits a weight
# (Dettmers et al., 2023, Section 3)
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
# Bytes of a weight, of a gradient, and of AdamW's state: two moments in 32 bits and, where
# weights have 16, a copy of the trained ones in 32 (Rajbhandari et al., 2020, Section 3.1).
BYTES = {"32": (4, 4, 8), "16": (2, 2, 12), "4": (2, 2, 12)}


def shapes(name: str) -> dict[str, Any]:
    """Widths and numbers of parameters of the model `name`, as JSON can hold them.

    Args:
        name: as for `pftlab.experiments.sizes.blank`.

    Raises:
        Refused: an encoder-decoder model, or one whose layers differ.
    """
    model = blank(name)
    if model.config.is_encoder_decoder:
        raise Refused(f"{name} has two stacks; give a model with one, such as bert-base or gpt2.")
    have = {site.name for site in sites(model)}
    linear = [place for place in LINEAR if place in have]
    found: dict[str, set[tuple[int, int]]] = {place: set() for place in linear}
    for site in sites(model, linear):
        found[site.name].add((site.d_in, site.d_out))
    if any(len(widths) > 1 for widths in found.values()):
        raise Refused(f"The layers of {name} differ in width; the formulas want equal layers.")
    widths = {place: list(next(iter(found[place]))) for place in linear}
    blocks = sites(model, ("block",))
    layers = len(blocks)
    activation = getattr(model.config, "activation_function", "")
    parameters = dict(model.named_parameters())
    layer = sum(p.numel() for p in blocks[-1].host.parameters())
    top = sum(parameters[name].numel() for name in above(model, layers - 1))
    base = f"{model.base_model_prefix}."
    biases = [p for n, p in parameters.items() if n.startswith(base) and n.endswith(".bias")]
    return {
        "source": SIZES[name].source if name in SIZES else "",
        "total": count(model).total,
        "layers": layers,
        "width": widths["attention.query"][0],
        "query": widths["attention.query"][1],
        "keys": widths["attention.key"][1],
        "inner": widths["ffn.down"][0],
        "middle": 3 if "ffn.gate" in have else 4 if activation == "gelu_new" else 1,
        "heads": model.config.num_attention_heads,
        "sites": widths,
        "layer": layer,
        "behind": top - layer,  # what follows the layers, inside the base model
        "linear": layers * sum(d_in * d_out for d_in, d_out in widths.values()),
        "norms": sum(parameters[n].numel() for n in norm_parameters(model)),
        "biases": sum(p.numel() for p in biases),
    }


def kept(shape: dict[str, Any], method: str, settings: dict[str, Any]) -> float:
    """Numbers for each token that one layer keeps for the backward pass.

    An estimate: attention that does not store its scores, no dropout. A frozen linear map needs
    nothing of its own; a trained one, or a delta beside it, needs its input. A gated activation
    keeps three tensors of the inner width, GPT-2's approximation of GELU four, others one. Where
    only the top layers are trained, those below keep nothing.
    """
    width, keys, inner = shape["width"], shape["keys"], shape["inner"]
    always = 2 * width + 2 * shape["query"] + 2 * keys + shape["middle"] * inner
    full = always + 2 * width + inner
    if method == "full":
        return full
    if method == "top_layers":
        return full * min(1, settings["count"] / shape["layers"])
    return always + _beside(shape, method, settings)


def _beside(shape: dict[str, Any], method: str, settings: dict[str, Any]) -> float:
    """What a method's own modules keep."""
    width, keys, inner = shape["width"], shape["keys"], shape["inner"]
    middle, rank = settings.get("bottleneck", 0), settings.get("rank", 0)
    at = [place for place in settings.get("at", ()) if place in shape["sites"]]
    out = sum(shape["sites"][place][1] for place in at)
    if method in ("lora", "adalora"):
        return inputs(shape, at) + (rank or settings["start_rank"]) * len(at)
    if method == "lora_fa":
        return rank * len(at)
    if method == "dora":
        return inputs(shape, at) + rank * len(at) + 2 * out
    if method == "vera":
        return rank * len(at) + out
    if method == "lokr":
        between = (factors(shape["sites"][p][1])[0] * factors(shape["sites"][p][0])[1] for p in at)
        return inputs(shape, at) + sum(between)
    if method in ("loha", "oft"):
        return inputs(shape, at)
    if method == "fourierft":
        return inputs(shape, LINEAR[:3])
    if method in ("houlsby", "compacter"):
        return 2 * (width + 2 * middle)
    if method == "compacter_plus_plus":
        return width + 2 * middle
    if method in ("pfeiffer", "parallel", "mam"):  # their ReLU keeps its output alone
        return width + middle
    if method == "residual":
        return 2 * width + middle
    if method == "adapter_plus":
        return 2 * (width + middle)
    if method == "llama_adapter":
        return shape["query"] + 2 * shape["heads"] * settings["length"]
    if method == "loreft":
        return width + 2 * rank
    if method == "ia3":
        return 2 * keys + inner
    return 0


def inputs(shape: dict[str, Any], at: Sequence[str]) -> int:
    """Widths of what linear maps at these places read; those that read the same share it."""
    attention = any(place in LINEAR[:3] for place in at)
    up = any(place in ("ffn.gate", "ffn.up") for place in at)
    own = shape["query"] * ("attention.output" in at) + shape["inner"] * ("ffn.down" in at)
    return shape["width"] * (attention + up) + own


def factors(width: int) -> tuple[int, int]:
    """(m, n) with m n = width, m the divisor next to the square root from below."""
    m = max(d for d in range(1, isqrt(width) + 1) if width % d == 0)
    return m, width // m


def memory(
    shape: dict[str, Any],
    method: str,
    settings: dict[str, Any],
    trainable: int,
    added: int,
    *,
    precision: str,
    batch: int,
    length: int,
) -> dict[str, float]:
    """Estimate the bytes that a training step holds, by what they are.

    Args:
        shape: from `shapes`.
        method: its name in the registry.
        settings: its hyper-parameters.
        trainable: parameters that are trained.
        added: parameters that the method adds to the model.
        precision: "32" or "16" bits, or "4": the layers' frozen matrices in NF4, the rest in 16.
        batch: sequences in a step.
        length: tokens in a sequence.

    Returns:
        Bytes of "weights", "gradients", "optimiser" (AdamW) and "activations" (of the layers,
        without embeddings and output).
    """
    weight, gradient, optimiser = BYTES[precision]
    packed = shape["linear"] if precision == "4" and method != "full" else 0
    tokens = batch * (length + (settings["length"] if method == "prompt_tuning" else 0))
    numbers = tokens * kept(shape, method, settings)
    if method in ("prefix_tuning", "p_tuning_v2", "mam"):
        numbers += batch * settings["length"] * 2 * shape["keys"]
    if method == "vera":  # the random matrices that all layers share, sized for the largest
        ends = [shape["sites"][place] for place in settings["at"] if place in shape["sites"]]
        added += settings["rank"] * (max(e[0] for e in ends) + max(e[1] for e in ends))
    return {
        "weights": NF4_BYTES * packed + weight * (shape["total"] - packed + added),
        "gradients": gradient * trainable,
        "optimiser": optimiser * trainable,
        "activations": weight * shape["layers"] * numbers,
    }
