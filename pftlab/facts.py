"""What is known of the families and of each method: one row, from which everything else derives.

The registry, `pftlab methods`, the tables and figures of the book and the contract's tests read
their facts here. Nothing is imported for it, so that a listing is quick; a method's class takes its
row by `facts = FACTS["lora"]`, and has the entries as attributes. A new method adds one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Family(NamedTuple):
    """How a family is written and drawn.

    No colour is blue or orange, which say frozen and trained, and each can be seen on white and on
    black; since not every eye can tell all of them apart, each family has a marker as well.
    """

    title: str
    colour: str
    marker: str


FAMILIES: dict[str, Family] = {
    "finetune": Family("fine-tuning", "#7a7a7a", "s"),
    "adapter": Family("adapters", "#8f5fc9", "o"),
    "prompt": Family("prompts", "#9a8a00", "^"),
    "low_rank": Family("low rank", "#2a9d4a", "D"),
    "sparse": Family("sparse", "#cc79a7", "v"),
    "others": Family("others", "#00a0a0", "P"),
}
#: what models are for, in the words of `load_base`
MODEL_TASKS = (
    "sequence_classification",
    "token_classification",
    "causal_lm",
    "seq2seq_lm",
    "masked_lm",
    "features",
)


@dataclass(frozen=True)
class Facts:
    """A row.

    Attributes:
        name: in the registry, on the command line, in files.
        place: module below this package, and class.
        family: one of `FAMILIES`.
        title: as the field writes it.
        year: of its first appearance.
        learning_rate: a sensible peak for AdamW.
        paper: authors (year), full title.
        reference: the paper's key in book/references.bib.
        url: of the paper.
        surveys: the family in which surveys put it, where that is another.
        where: it acts, in words, if its sites are not its hyper-parameter `at`.
        model_tasks: what the models are for that it can be attached to.
        identity_at_start: attached and untrained, the model computes the base.
        mergeable: it folds into the base's weights.
        needs_head: it trains nothing but the head.
        last_counts: a schedule's end is the result: keep it, not the best.
        stores_more: what its checkpoint holds beside what was trained, in words.
        stores_less: what was trained and its checkpoint does not hold, in words.
        cannot: item of the contract (see `pftlab.testing`) → why the method cannot keep it.
        tiny: hyper-parameters that fit a model of width 32.
        small: those that fit the book's own small models and short runs.
    """

    name: str
    place: str
    family: str
    title: str
    year: int
    learning_rate: float
    paper: str
    reference: str
    url: str
    surveys: str = ""
    where: str = ""
    model_tasks: tuple[str, ...] = MODEL_TASKS
    identity_at_start: bool = True
    mergeable: bool = False
    needs_head: bool = False
    last_counts: bool = False
    stores_more: str = ""
    stores_less: str = ""
    cannot: Mapping[str, str] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)


def _row(name: str, place: str, title: str, year: int, rate: float, **more: Any) -> Facts:
    return Facts(name, place, place.partition(".")[0], title, year, rate, **more)


# fmt: off
_ROWS = (
    # fine-tuning
    _row(
        "full", "finetune.full:FullFineTuning", "Full fine-tuning", 2018, 5e-5,
        paper="Devlin et al. (2019), BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        reference="devlin2019bert", url="https://arxiv.org/abs/1810.04805",
        where="every parameter", mergeable=True,
    ),
    _row(
        "linear_probe", "finetune.linear_probe:LinearProbe", "Linear probe", 2016, 5e-3,
        paper="Peters et al. (2019), To Tune or Not to Tune? Adapting Pretrained Representations to Diverse Tasks",
        reference="peters2019tune", url="https://arxiv.org/abs/1903.05987",
        where="the head", model_tasks=("sequence_classification", "token_classification"),
        mergeable=True, needs_head=True,
    ),
    _row(
        "top_layers", "finetune.top_layers:TopLayers", "Top layers", 2018, 1e-4,
        paper="Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP",
        reference="houlsby2019parameter", url="https://arxiv.org/abs/1902.00751",
        where="the last layers, and what follows them", mergeable=True, tiny={"count": 1},
    ),
    _row(
        "frozen_bottom", "finetune.frozen_bottom:FrozenBottom", "Frozen bottom", 2019, 5e-5,
        paper="Lee et al. (2019), What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning",
        reference="lee2019elsa", url="https://arxiv.org/abs/1911.03090",
        where="the upper layers, and what follows them", mergeable=True,
    ),
    _row(
        "gradual_unfreezing", "finetune.gradual_unfreezing:GradualUnfreezing", "Gradual unfreezing", 2018, 5e-5,
        paper="Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification",
        reference="howard2018universal", url="https://arxiv.org/abs/1801.06146",
        where="every parameter, from the top down", mergeable=True,
    ),
    _row(
        "discriminative", "finetune.discriminative:DiscriminativeLearningRates", "Discriminative learning rates", 2018, 1e-4,
        paper="Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification",
        reference="howard2018universal", url="https://arxiv.org/abs/1801.06146",
        where="every parameter", mergeable=True,
    ),
    # adapters
    _row(
        "houlsby", "adapter.houlsby:Houlsby", "Houlsby adapters", 2019, 1e-3,
        paper="Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP",
        reference="houlsby2019parameter", url="https://arxiv.org/abs/1902.00751",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
    ),
    _row(
        "pfeiffer", "adapter.pfeiffer:Pfeiffer", "Pfeiffer adapters", 2020, 1e-3,
        paper="Pfeiffer et al. (2021), AdapterFusion: Non-Destructive Task Composition for Transfer Learning",
        reference="pfeiffer2021adapterfusion", url="https://arxiv.org/abs/2005.00247",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
    ),
    _row(
        "residual", "adapter.residual:ResidualAdapter", "Residual adapters", 2020, 1e-3,
        paper="Lin et al. (2020), Exploring Versatile Generative Language Model Via Parameter-Efficient Transfer Learning",
        reference="lin2020exploring", url="https://arxiv.org/abs/2004.03829",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
    ),
    _row(
        "adapter_fusion", "adapter.adapter_fusion:AdapterFusion", "AdapterFusion", 2020, 5e-5,
        paper="Pfeiffer et al. (2021), AdapterFusion: Non-Destructive Task Composition for Transfer Learning",
        reference="pfeiffer2021adapterfusion", url="https://arxiv.org/abs/2005.00247",
        identity_at_start=False, stores_more="the frozen adapters that it fuses",
        tiny={"bottlenecks": (4, 3)},
    ),
    _row(
        "adapter_drop", "adapter.adapter_drop:AdapterDrop", "AdapterDrop", 2020, 1e-3,
        paper="Rücklé et al. (2021), AdapterDrop: On the Efficiency of Adapters in Transformers",
        reference="ruckle2021adapterdrop", url="https://arxiv.org/abs/2010.11918",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
    ),
    _row(
        "parallel", "adapter.parallel:ParallelAdapter", "Parallel adapters", 2021, 1e-3,
        paper="He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning",
        reference="he2022towards", url="https://arxiv.org/abs/2110.04366",
        tiny={"bottleneck": 4}, small={"bottleneck": 16},
    ),
    _row(
        "compacter", "adapter.compacter:Compacter", "Compacter", 2021, 3e-3,
        paper="Karimi Mahabadi et al. (2021), Compacter: Efficient Low-Rank Hypercomplex Adapter Layers",
        reference="mahabadi2021compacter", url="https://arxiv.org/abs/2106.04647",
        identity_at_start=False, tiny={"bottleneck": 8},
    ),
    _row(
        "compacter_plus_plus", "adapter.compacter:CompacterPlusPlus", "Compacter++", 2021, 3e-3,
        paper="Karimi Mahabadi et al. (2021), Compacter: Efficient Low-Rank Hypercomplex Adapter Layers",
        reference="mahabadi2021compacter", url="https://arxiv.org/abs/2106.04647",
        identity_at_start=False, tiny={"bottleneck": 8},
    ),
    _row(
        "adapter_plus", "adapter.adapter_plus:AdapterPlus", "Adapter+", 2024, 1e-3,
        paper="Steitz and Roth (2024), Adapters Strike Back",
        reference="steitz2024adapters", url="https://arxiv.org/abs/2406.06820",
        identity_at_start=False, tiny={"bottleneck": 4},
    ),
    _row(
        "mad_x", "adapter.mad_x:MADX", "MAD-X language adapters", 2020, 1e-3,
        paper="Pfeiffer et al. (2020), MAD-X: An Adapter-Based Framework for Multi-Task Cross-Lingual Transfer",
        reference="pfeiffer2020madx", url="https://arxiv.org/abs/2005.00052",
        where="stream, and the word embeddings", identity_at_start=False, tiny={"bottleneck": 4},
        small={"bottleneck": 32},
    ),
    # prompts
    _row(
        "prompt_tuning", "prompt.prompt_tuning:PromptTuning", "Prompt tuning", 2021, 3e-2,
        paper="Lester et al. (2021), The Power of Scale for Parameter-Efficient Prompt Tuning",
        reference="lester2021power", url="https://arxiv.org/abs/2104.08691",
        identity_at_start=False,
        stores_more="with T5 a second prompt, which PEFT has and does not read",
        tiny={"length": 3}, small={"length": 10},
    ),
    _row(
        "p_tuning", "prompt.p_tuning:PTuning", "P-tuning", 2021, 1e-3,
        paper="Liu et al. (2024), GPT Understands, Too",
        reference="liu2024gpt", url="https://arxiv.org/abs/2103.10385",
        identity_at_start=False,
        stores_more="the prompt as well as the network that made it, for PEFT",
        cannot={"compiling": "torch.compile takes no recurrent networks"},
        tiny={"length": 3, "hidden": 8}, small={"length": 10},
    ),
    _row(
        "multitask_prompt_tuning", "prompt.multitask_prompt_tuning:MultitaskPromptTuning", "Multitask prompt tuning", 2023, 3e-2,
        paper="Wang et al. (2023), Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning",
        reference="wang2023multitask", url="https://arxiv.org/abs/2303.02861",
        identity_at_start=False, tiny={"length": 3, "tasks": 2, "rank": 2}, small={"length": 10},
    ),
    _row(
        "prefix_tuning", "prompt.prefix_tuning:PrefixTuning", "Prefix tuning", 2021, 5e-3,
        paper="Li and Liang (2021), Prefix-Tuning: Optimizing Continuous Prompts for Generation",
        reference="li2021prefix", url="https://arxiv.org/abs/2101.00190",
        identity_at_start=False,
        stores_more="the prefix as well as the network that made it, for PEFT",
        tiny={"length": 3, "hidden": 8}, small={"length": 10, "hidden": 64},
    ),
    _row(
        "p_tuning_v2", "prompt.p_tuning_v2:PTuningV2", "P-tuning v2", 2021, 1e-2,
        paper="Liu et al. (2022), P-Tuning: Prompt Tuning Can Be Comparable to Fine-tuning Across Scales and Tasks",
        reference="liu2022ptuning", url="https://arxiv.org/abs/2110.07602",
        identity_at_start=False, tiny={"length": 3}, small={"length": 10},
    ),
    _row(
        "llama_adapter", "prompt.llama_adapter:LLaMAAdapter", "LLaMA-Adapter", 2023, 9e-3,
        paper="Zhang et al. (2023), LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention",
        reference="zhang2023llamaadapter", url="https://arxiv.org/abs/2303.16199",
        tiny={"length": 3},
    ),
    # low rank
    _row(
        "lora", "low_rank.lora:LoRA", "LoRA", 2021, 1e-3,
        paper="Hu et al. (2022), LoRA: Low-Rank Adaptation of Large Language Models",
        reference="hu2022lora", url="https://arxiv.org/abs/2106.09685",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "rslora", "low_rank.rslora:RsLoRA", "rsLoRA", 2023, 5e-4,
        paper="Kalajdzievski (2023), A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA",
        reference="kalajdzievski2023rslora", url="https://arxiv.org/abs/2312.03732",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "lora_plus", "low_rank.lora_plus:LoRAPlus", "LoRA+", 2024, 2e-4,
        paper="Hayou et al. (2024), LoRA+: Efficient Low Rank Adaptation of Large Models",
        reference="hayou2024loraplus", url="https://arxiv.org/abs/2402.12354",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "lora_fa", "low_rank.lora_fa:LoRAFA", "LoRA-FA", 2023, 1e-3,
        paper="Zhang et al. (2023), LoRA-FA: Memory-Efficient Low-Rank Adaptation for Large Language Models Fine-Tuning",
        reference="zhang2023lorafa", url="https://arxiv.org/abs/2308.03303",
        mergeable=True, stores_more="the frozen A, which PEFT reads", tiny={"rank": 2},
    ),
    _row(
        "dora", "low_rank.dora:DoRA", "DoRA", 2024, 1e-3,
        paper="Liu et al. (2024), DoRA: Weight-Decomposed Low-Rank Adaptation",
        reference="liu2024dora", url="https://arxiv.org/abs/2402.09353",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "pissa", "low_rank.pissa:PiSSA", "PiSSA", 2024, 2e-4,
        paper="Meng et al. (2024), PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
        reference="meng2024pissa", url="https://arxiv.org/abs/2404.02948",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "olora", "low_rank.olora:OLoRA", "OLoRA", 2024, 2e-4,
        paper="Büyükakyüz (2024), OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models",
        reference="buyukakyuz2024olora", url="https://arxiv.org/abs/2406.01775",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "loha", "low_rank.loha:LoHa", "LoHa", 2023, 1e-3,
        paper="Yeh et al. (2024), Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
        reference="yeh2024navigating", url="https://arxiv.org/abs/2309.14859",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "lokr", "low_rank.lokr:LoKr", "LoKr", 2023, 3e-3,
        paper="Yeh et al. (2024), Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
        reference="yeh2024navigating", url="https://arxiv.org/abs/2309.14859",
        mergeable=True, tiny={"rank": 2},
    ),
    _row(
        "vera", "low_rank.vera:VeRA", "VeRA", 2023, 1e-2,
        paper="Kopiczko et al. (2024), VeRA: Vector-Based Random Matrix Adaptation",
        reference="kopiczko2024vera", url="https://arxiv.org/abs/2310.11454",
        mergeable=True, tiny={"rank": 8},
    ),
    _row(
        "randlora", "low_rank.randlora:RandLoRA", "RandLoRA", 2025, 1e-3,
        paper="Albert et al. (2025), RandLoRA: Full-Rank Parameter-Efficient Fine-Tuning of Large Models",
        reference="albert2025randlora", url="https://arxiv.org/abs/2502.00987",
        mergeable=True, tiny={"rank": 8, "alpha": 16.0}, small={"rank": 16, "alpha": 32.0},
    ),
    _row(
        "delta_lora", "low_rank.delta_lora:DeltaLoRA", "Delta-LoRA", 2023, 1e-3,
        paper="Zi et al. (2023), Delta-LoRA: Fine-Tuning High-Rank Parameters with the Delta of Low-Rank Matrices",
        reference="zi2023deltalora", url="https://arxiv.org/abs/2309.02411",
        mergeable=True, stores_more="A and B as they were when W began to move", tiny={"rank": 2},
    ),
    _row(
        "adalora", "low_rank.adalora:AdaLoRA", "AdaLoRA", 2023, 2e-3,
        paper="Zhang et al. (2023), Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
        reference="zhang2023adalora", url="https://arxiv.org/abs/2303.10512",
        mergeable=True, last_counts=True, stores_less="what was pruned away",
        tiny={"rank": 2, "start_rank": 3},
    ),
    _row(
        "qlora", "low_rank.qlora:QLoRA", "QLoRA", 2023, 2e-4,
        paper="Dettmers et al. (2023), QLoRA: Efficient Finetuning of Quantized LLMs",
        reference="dettmers2023qlora", url="https://arxiv.org/abs/2305.14314",
        where="every linear map of the layers", identity_at_start=False, mergeable=True,
        cannot=dict.fromkeys(
            ("switching", "mixing"), "a base is rounded once; a second update of it is LoRA's"
        ),
        tiny={"rank": 2}, small={"rank": 8},
    ),
    _row(
        "galore", "low_rank.galore:GaLore", "GaLore", 2024, 1e-4,
        paper="Zhao et al. (2024), GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection",
        reference="zhao2024galore", url="https://arxiv.org/abs/2403.03507",
        where="every linear map of the layers; the rest in full", mergeable=True,
        stores_more="projectors", tiny={"rank": 2}, small={"interval": 50},
    ),
    # sparse
    _row(
        "bitfit", "sparse.bitfit:BitFit", "BitFit", 2021, 2e-3,
        paper="Ben Zaken et al. (2022), BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
        reference="benzaken2022bitfit", url="https://arxiv.org/abs/2106.10199",
        where="every bias", mergeable=True,
    ),
    _row(
        "random_mask", "sparse.mask:RandomMask", "Random mask", 2021, 1e-3,
        paper="Sung et al. (2021), Training Neural Networks with Fixed Sparse Masks",
        reference="sung2021fish", url="https://arxiv.org/abs/2111.09839",
        where="every weight", mergeable=True, stores_more="the places of the values",
        tiny={"density": 0.02},
    ),
    _row(
        "fish_mask", "sparse.fish_mask:FishMask", "FISH mask", 2021, 1e-3,
        paper="Sung et al. (2021), Training Neural Networks with Fixed Sparse Masks",
        reference="sung2021fish", url="https://arxiv.org/abs/2111.09839",
        where="every weight", mergeable=True, stores_more="the places of the values",
        tiny={"density": 0.02, "samples": 4}, small={"samples": 256},
    ),
    _row(
        "lt_sft", "sparse.lt_sft:LTSFT", "LT-SFT", 2021, 1e-3,
        paper="Ansell et al. (2022), Composable Sparse Fine-Tuning for Cross-Lingual Transfer",
        reference="ansell2022composable", url="https://arxiv.org/abs/2110.07560",
        where="every weight", mergeable=True, stores_more="the places of the values",
        tiny={"density": 0.02, "full_steps": 1}, small={"full_learning_rate": 0.0005},
    ),
    _row(
        "layer_norm", "sparse.layer_norm:LayerNormTuning", "LayerNorm tuning", 2022, 2e-3,
        paper="Qi et al. (2022), Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models",
        reference="qi2022layernorm", url="https://arxiv.org/abs/2211.08682",
        where="every layer norm", mergeable=True,
    ),
    _row(
        "diff_pruning", "sparse.diff_pruning:DiffPruning", "Diff pruning", 2020, 1e-4,
        paper="Guo et al. (2021), Parameter-Efficient Transfer Learning with Diff Pruning",
        reference="guo2021diff", url="https://arxiv.org/abs/2012.07463",
        where="every weight", mergeable=True, last_counts=True, stores_less="what was pruned away",
        cannot={"checkpointing": "its gates are drawn anew when a block is computed again"},
    ),
    _row(
        "did", "sparse.said:IntrinsicDID", "Intrinsic DID", 2020, 1e-2,
        paper="Aghajanyan et al. (2021), Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
        reference="aghajanyan2021intrinsic", url="https://arxiv.org/abs/2012.13255",
        where="every weight", surveys="reparametrisation", mergeable=True, tiny={"dimension": 100},
    ),
    _row(
        "said", "sparse.said:IntrinsicSAID", "Intrinsic SAID", 2020, 1e-2,
        paper="Aghajanyan et al. (2021), Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
        reference="aghajanyan2021intrinsic", url="https://arxiv.org/abs/2012.13255",
        where="every weight", surveys="reparametrisation", mergeable=True, tiny={"dimension": 100},
    ),
    # others
    _row(
        "ia3", "others.ia3:IA3", "(IA)³", 2022, 5e-3,
        paper="Liu et al. (2022), Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        reference="liu2022fewshot", url="https://arxiv.org/abs/2205.05638",
        mergeable=True,
    ),
    _row(
        "mam", "others.mam:MAMAdapter", "MAM adapter", 2021, 1e-3,
        paper="He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning",
        reference="he2022towards", url="https://arxiv.org/abs/2110.04366",
        identity_at_start=False, tiny={"length": 3, "hidden": 8, "bottleneck": 4},
        small={"length": 10, "hidden": 64, "bottleneck": 16},
    ),
    _row(
        "unipelt", "others.unipelt:UniPELT", "UniPELT", 2021, 5e-4,
        paper="Mao et al. (2022), UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning",
        reference="mao2022unipelt", url="https://arxiv.org/abs/2110.07577",
        where="attention.query, attention.value, attention.keys_values, stream",
        model_tasks=("sequence_classification", "token_classification", "masked_lm", "features"),
        identity_at_start=False, tiny={"length": 3, "hidden": 8, "rank": 2, "bottleneck": 4},
        small={"bottleneck": 16, "hidden": 64},
    ),
    _row(
        "loreft", "others.loreft:LoReFT", "LoReFT", 2024, 2e-3,
        paper="Wu et al. (2024), ReFT: Representation Finetuning for Language Models",
        reference="wu2024reft", url="https://arxiv.org/abs/2404.03592",
        identity_at_start=False, tiny={"rank": 2, "first": 2},
    ),
    _row(
        "oft", "others.oft:OFT", "OFT", 2023, 2e-3,
        paper="Qiu et al. (2023), Controlling Text-to-Image Diffusion by Orthogonal Finetuning",
        reference="qiu2023oft", url="https://arxiv.org/abs/2306.07280",
        mergeable=True, tiny={"block": 8},
    ),
    _row(
        "fourierft", "others.fourierft:FourierFT", "FourierFT", 2024, 2e-2,
        paper="Gao et al. (2024), Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
        reference="gao2024fourierft", url="https://arxiv.org/abs/2405.03003",
        identity_at_start=False, mergeable=True, tiny={"frequencies": 20, "alpha": 20.0},
        small={"frequencies": 500},
    ),
)
# fmt: on
FACTS: dict[str, Facts] = {row.name: row for row in _ROWS}
