"""The linear probe, or feature extraction: the base is frozen, only the head is trained.

Alain and Bengio (2016), https://arxiv.org/abs/1610.01644; for language models Peters, Ruder and
Smith (2019), https://arxiv.org/abs/1903.05987
"""

from dataclasses import dataclass

from ..core import Method
from ..facts import FACTS


@dataclass(frozen=True)
class LinearProbe(Method):
    """Train the head alone: what the frozen features already know.

    Whatever else `from_pretrained` had to initialise at random, such as a missing pooler, is part
    of the head and trained with it; then the probe is more than linear, and `count` shows it.
    """

    facts = FACTS["linear_probe"]
    nothing_to_train = (
        "It trains the task's head, and there is none: load the base with num_labels=…, and attach "
        "without head=()."
    )
