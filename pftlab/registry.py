"""Every method by its name. Adding a method adds one line here.

A method's module is imported when it is first asked for, so that looking at the names is quick.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .core.errors import UnknownName

_WHERE = {
    "full": "finetune.full:FullFineTuning",
    "linear_probe": "finetune.linear_probe:LinearProbe",
    "top_layers": "finetune.top_layers:TopLayers",
    "frozen_bottom": "finetune.frozen_bottom:FrozenBottom",
    "gradual_unfreezing": "finetune.gradual_unfreezing:GradualUnfreezing",
    "discriminative": "finetune.discriminative:DiscriminativeLearningRates",
    "houlsby": "adapter.houlsby:Houlsby",
    "pfeiffer": "adapter.pfeiffer:Pfeiffer",
    "residual": "adapter.residual:ResidualAdapter",
    "adapter_fusion": "adapter.adapter_fusion:AdapterFusion",
    "adapter_drop": "adapter.adapter_drop:AdapterDrop",
    "parallel": "adapter.parallel:ParallelAdapter",
    "compacter": "adapter.compacter:Compacter",
    "compacter_plus_plus": "adapter.compacter:CompacterPlusPlus",
    "adapter_plus": "adapter.adapter_plus:AdapterPlus",
    "mad_x": "adapter.mad_x:MADX",
    "prompt_tuning": "prompt.prompt_tuning:PromptTuning",
    "p_tuning": "prompt.p_tuning:PTuning",
    "multitask_prompt_tuning": "prompt.multitask_prompt_tuning:MultitaskPromptTuning",
    "prefix_tuning": "prompt.prefix_tuning:PrefixTuning",
    "p_tuning_v2": "prompt.p_tuning_v2:PTuningV2",
    "llama_adapter": "prompt.llama_adapter:LLaMAAdapter",
    "lora": "low_rank.lora:LoRA",
    "rslora": "low_rank.rslora:RsLoRA",
    "lora_plus": "low_rank.lora_plus:LoRAPlus",
    "lora_fa": "low_rank.lora_fa:LoRAFA",
    "dora": "low_rank.dora:DoRA",
    "pissa": "low_rank.pissa:PiSSA",
    "olora": "low_rank.olora:OLoRA",
    "loha": "low_rank.loha:LoHa",
    "lokr": "low_rank.lokr:LoKr",
    "vera": "low_rank.vera:VeRA",
    "delta_lora": "low_rank.delta_lora:DeltaLoRA",
    "adalora": "low_rank.adalora:AdaLoRA",
    "qlora": "low_rank.qlora:QLoRA",
    "galore": "low_rank.galore:GaLore",
    "bitfit": "sparse.bitfit:BitFit",
    "random_mask": "sparse.mask:RandomMask",
    "fish_mask": "sparse.fish_mask:FishMask",
    "lt_sft": "sparse.lt_sft:LTSFT",
    "layer_norm": "sparse.layer_norm:LayerNormTuning",
    "diff_pruning": "sparse.diff_pruning:DiffPruning",
    "did": "sparse.said:IntrinsicDID",
    "said": "sparse.said:IntrinsicSAID",
    "ia3": "others.ia3:IA3",
    "mam": "others.mam:MAMAdapter",
    "unipelt": "others.unipelt:UniPELT",
    "loreft": "others.loreft:LoReFT",
    "oft": "others.oft:OFT",
    "fourierft": "others.fourierft:FourierFT",
}
CLASSES = {place.split(":")[1]: name for name, place in _WHERE.items()}


class _Methods(Mapping[str, Any]):
    """name → method class, imported on first use."""

    def __getitem__(self, name: str) -> Any:
        if name not in _WHERE:
            raise UnknownName("method", name, _WHERE)
        module, _, cls = _WHERE[name].partition(":")
        return getattr(import_module(f"pftlab.{module}"), cls)

    def __contains__(self, name: object) -> bool:
        return name in _WHERE

    def __iter__(self) -> Iterator[str]:
        return iter(_WHERE)

    def __len__(self) -> int:
        return len(_WHERE)

    def __repr__(self) -> str:
        return f"METHODS({', '.join(_WHERE)})"


METHODS = _Methods()


def load(model: Any, folder: str | Path, name: str | None = None, check_base: bool = True) -> Any:
    """Attach what `folder` holds, saved by `pftlab.save` or by Hugging Face PEFT.

    See pftlab.core.checkpoint.load for the arguments and errors.
    """
    from .core import checkpoint

    return checkpoint.load(model, folder, METHODS, name, check_base)
