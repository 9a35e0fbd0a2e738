"""What must be known of a model to count on it: measured on a model without weights."""

from typing import Any

from ..core.count import count
from ..core.errors import Refused
from ..core.sites import norm_parameters, sites
from ..experiments.sizes import SIZES, blank

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
    layers = len(sites(model, ("block",)))
    activation = getattr(model.config, "activation_function", "")
    parameters = dict(model.named_parameters())
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
        "sites": widths,
        "linear": layers * sum(d_in * d_out for d_in, d_out in widths.values()),
        "norms": sum(parameters[n].numel() for n in norm_parameters(model)),
        "biases": sum(p.numel() for p in biases),
    }


def kept(shape: dict[str, Any], method: str, settings: dict[str, Any]) -> int:
    """Numbers for each token that one layer keeps for the backward pass.

    An estimate: attention that does not store its scores, no dropout. A frozen linear map needs
    nothing of its own; a trained one, or a delta beside it, needs its input. A gated activation
    keeps three tensors of the inner width, GPT-2's approximation of GELU four, others one.
    """
    width, keys, inner = shape["width"], shape["keys"], shape["inner"]
    always = 2 * width + 2 * shape["query"] + 2 * keys + shape["middle"] * inner
    middle = settings.get("bottleneck", 0)
    if method == "full":
        return always + 2 * width + inner
    if method == "lora":
        at = [place for place in settings["at"] if place in shape["sites"]]
        read = {
            width: any(place in LINEAR[:3] for place in at),
            -width: any(place in ("ffn.gate", "ffn.up") for place in at),
        }
        own = sum(abs(size) for size, used in read.items() if used)
        own += shape["query"] * ("attention.output" in at) + inner * ("ffn.down" in at)
        return always + own + settings["rank"] * len(at)
    if method in ("houlsby", "compacter"):
        return always + 2 * (width + 2 * middle)
    if method in ("pfeiffer", "parallel", "compacter_plus_plus"):
        return always + width + 2 * middle
    if method == "ia3":
        return always + 2 * keys + inner
    return always


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
    if method in ("prefix_tuning", "p_tuning_v2"):
        numbers += batch * settings["length"] * 2 * shape["keys"]
    return {
        "weights": NF4_BYTES * packed + weight * (shape["total"] - packed + added),
        "gradients": gradient * trainable,
        "optimiser": optimiser * trainable,
        "activations": weight * shape["layers"] * numbers,
    }
