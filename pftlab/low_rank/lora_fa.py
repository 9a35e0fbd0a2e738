"""LoRA-FA: LoRA with A frozen, which saves the memory of the layers' inputs.

Zhang, Zhang, Shi, Chu and Li (2023), LoRA-FA: Memory-Efficient Low-Rank Adaptation for Large
Language Models Fine-Tuning, https://arxiv.org/abs/2308.03303
"""

from dataclasses import dataclass

from ..core import Delta, Site
from ..facts import FACTS
from .lora import LoRA


@dataclass(frozen=True)
class LoRAFA(LoRA):
    """LoRA that trains B alone: A stays as it was drawn.

    The gradient of A needs x (…, d_in), that of B only A x (…, rank). So a projection keeps rank
    numbers for each token until the backward pass and not d_in. Dropout undoes that: the mask on x
    has to be kept.

    A is saved with B, as a LoRA. PEFT's `create_lorafa_optimizer` freezes A too, but then
    multiplies B's gradient by (A Aᵀ)⁻¹ / scale²; this is the method as the paper has it, under
    any optimiser.

    Args: as for LoRA.
    """

    facts = FACTS["lora_fa"]

    def delta(self, site: Site) -> Delta:
        delta = super().delta(site)
        delta.get_parameter("A").requires_grad_(False)
        return delta
