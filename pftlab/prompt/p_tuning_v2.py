"""P-Tuning v2: Prompt Tuning Can Be Comparable to Fine-tuning Universally Across Scales and Tasks.

Liu, Ji, Fu, Tam, Du, Yang and Tang (2022), https://arxiv.org/abs/2110.07602. The optional
multi-task start of the paper (Section 3.3) is in no published code; here `share_prompt` lets the
models of several tasks train one prompt, which is then saved and loaded for each task alone.
"""

from dataclasses import dataclass

from torch import nn

from ..core import BadValue
from ..core.limits import Whole
from ..facts import FACTS
from .prefix import prefixes_of
from .prefix_tuning import PrefixTuning


@dataclass(frozen=True)
class PTuningV2(PrefixTuning):
    """Deep prompts for understanding tasks: a prefix per layer and a trained head.

    Prefix tuning without its network, used with a classification or tagging head
    instead of a language model's words.

    Args:
        length: n, the number of prompt positions (paper: under 20 for simple
            classification, about 100 for tagging).
        hidden: width of a reparametrising network; None, the code's default: train
            directly.
        std: deviation of the first keys and values.
        shift_positions: let the positions of the text begin behind the prompt, as
            in the code.
        at: every attention.
        layers: numbers of the layers that get a prompt; None: all.
    """

    facts = FACTS["p_tuning_v2"]

    length: Whole = 20
    hidden: Whole | None = None


def share_prompt(first: nn.Module, *others: nn.Module) -> None:
    """Let the models train one prompt, that of the first, for all of their tasks.

    Each keeps its own head. Train them in turn, a few steps at a time; afterwards
    the prompt of any of them is the start for one task.

    Args:
        first: with P-tuning v2 or prefix tuning attached.
        others: models of the same base with the same attached; for instance one
            with a classification head and one with a tagging head.

    Raises:
        BadValue: a model carries no prompt, or one of another shape. No model has
            changed then.
    """
    prompts = [prefixes_of(model) for model in (first, *others)]
    shapes = []
    for found in prompts:
        shapes.append([(type(p), [t.shape for t in p.parameters()]) for p in found])
    if not prompts[0] or any(shape != shapes[0] for shape in shapes):
        raise BadValue(
            "The models do not carry prompts of one shape. Attach the same "
            "PTuningV2 to each, on the same base."
        )
    for found in prompts[1:]:
        for mine, its in zip(prompts[0], found, strict=True):
            for name, parameter in mine.named_parameters(recurse=False):
                setattr(its, name, parameter)
            for name, network in mine.named_children():
                setattr(its, name, network)
