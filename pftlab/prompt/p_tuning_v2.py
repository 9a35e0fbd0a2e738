"""P-Tuning v2: Prompt Tuning Can Be Comparable to Fine-tuning Universally Across Scales and Tasks.

Liu, Ji, Fu, Tam, Du, Yang and Tang (2022), https://arxiv.org/abs/2110.07602. The optional
multi-task start of the paper (Section 3.3) is in no published code; here it is training on one
task, saving, and loading before training on the next.
"""

from dataclasses import dataclass

from .prefix_tuning import PrefixTuning


@dataclass(frozen=True)
class PTuningV2(PrefixTuning):
    """Deep prompts for understanding tasks: a prefix in every layer and a plain trained head.

    Prefix tuning without its network, used with a classification or tagging head instead of a
    language model's words.

    Args:
        length: n, the number of prompt positions (paper: under 20 for simple classification,
            about 100 for tagging).
        hidden: width of a reparametrising network; None, the code's default: train directly.
        std: deviation of the first keys and values.
        shift_positions: let the positions of the text begin behind the prompt, as the code does.
        at: every attention.
        layers: numbers of the layers that get a prompt; None: all.
    """

    name = "p_tuning_v2"
    title = "P-tuning v2"
    paper = "Liu et al. (2022), P-Tuning v2: Prompt Tuning Can Be Comparable to Fine-tuning"
    url = "https://arxiv.org/abs/2110.07602"
    year = 2021
    learning_rate = 1e-2

    length: int = 20
    hidden: int | None = None
