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
        equation: what it computes, in TeX.
        symbols: what the letters of the equation are, in Markdown.
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
    equation: str = ""
    symbols: str = ""
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
        equation=r"\theta \leftarrow \theta_0 + \Delta\theta",
        symbols=r"$\theta_0$ all pretrained parameters; $\Delta\theta$ is as large, and the optimiser keeps two moments for each of its entries.",
    ),
    _row(
        "linear_probe", "finetune.linear_probe:LinearProbe", "Linear probe", 2016, 5e-3,
        paper="Peters et al. (2019), To Tune or Not to Tune? Adapting Pretrained Representations to Diverse Tasks",
        reference="peters2019tune", url="https://arxiv.org/abs/1903.05987",
        where="the head", model_tasks=("sequence_classification", "token_classification"),
        mergeable=True, needs_head=True,
        equation=r"\hat y = \operatorname{softmax}\big(W_\text{head}\, h(x) + b\big)",
        symbols=r"$h(x)$ the frozen base's representation of the text; only the head, $W_\text{head}$ and $b$, is trained.",
    ),
    _row(
        "top_layers", "finetune.top_layers:TopLayers", "Top layers", 2018, 1e-4,
        paper="Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP",
        reference="houlsby2019parameter", url="https://arxiv.org/abs/1902.00751",
        where="the last layers, and what follows them", mergeable=True, tiny={"count": 1},
        equation=r"\theta_\ell \leftarrow \theta_{0,\ell} + \Delta\theta_\ell \quad \text{for } \ell > L - k",
        symbols=r"$L$ layers, of which the last $k$ are trained, with what follows them.",
    ),
    _row(
        "frozen_bottom", "finetune.frozen_bottom:FrozenBottom", "Frozen bottom", 2019, 5e-5,
        paper="Lee et al. (2019), What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning",
        reference="lee2019elsa", url="https://arxiv.org/abs/1911.03090",
        where="the upper layers, and what follows them", mergeable=True,
        equation=r"\theta_\ell \leftarrow \theta_{0,\ell} + \Delta\theta_\ell \quad \text{for } \ell \ge f",
        symbols=r"Layers are counted from 0; the first $f$ and the embeddings stay frozen.",
    ),
    _row(
        "gradual_unfreezing", "finetune.gradual_unfreezing:GradualUnfreezing", "Gradual unfreezing", 2018, 5e-5,
        paper="Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification",
        reference="howard2018universal", url="https://arxiv.org/abs/1801.06146",
        where="every parameter, from the top down", mergeable=True,
        equation=r"\theta_\ell \text{ is trained from step } t_\ell \text{ on}, \quad t_L < t_{L-1} < \dots < t_0",
        symbols=r"$t_\ell$ the step at which layer $\ell$ is opened: the last layer first, the embeddings, layer 0, at the end.",
    ),
    _row(
        "discriminative", "finetune.discriminative:DiscriminativeLearningRates", "Discriminative learning rates", 2018, 1e-4,
        paper="Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification",
        reference="howard2018universal", url="https://arxiv.org/abs/1801.06146",
        where="every parameter", mergeable=True,
        equation=r"\theta \leftarrow \theta_0 + \Delta\theta, \qquad \eta_{\ell-1} = \eta_\ell \,/\, \xi",
        symbols=r"$\eta_\ell$ the learning rate of layer $\ell$, $\xi = 2.6$ the divisor from one layer to the one below it; the embeddings are layer 0.",
    ),
    # adapters
    _row(
        "houlsby", "adapter.houlsby:Houlsby", "Houlsby adapters", 2019, 1e-3,
        paper="Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP",
        reference="houlsby2019parameter", url="https://arxiv.org/abs/1902.00751",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
        equation=r"h \leftarrow h + U\, \varphi(D h + d) + u",
        symbols=r"$D$ $(m, d_\text{model})$ and $U$ $(d_\text{model}, m)$ with biases $d$ and $u$, both near zero at first; $\varphi$ a non-linearity, $m$ the width of the bottleneck.",
    ),
    _row(
        "pfeiffer", "adapter.pfeiffer:Pfeiffer", "Pfeiffer adapters", 2020, 1e-3,
        paper="Pfeiffer et al. (2021), AdapterFusion: Non-Destructive Task Composition for Transfer Learning",
        reference="pfeiffer2021adapterfusion", url="https://arxiv.org/abs/2005.00247",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
        equation=r"h \leftarrow h + U\, \varphi(D x + d) + u, \qquad x = \mathrm{LN}(h)",
        symbols=r"One adapter a layer, behind the feed-forward network; it reads the normalised state and writes before the norm. $D$ $(m, d_\text{model})$, $U$ $(d_\text{model}, m)$.",
    ),
    _row(
        "residual", "adapter.residual:ResidualAdapter", "Residual adapters", 2020, 1e-3,
        paper="Lin et al. (2020), Exploring Versatile Generative Language Model Via Parameter-Efficient Transfer Learning",
        reference="lin2020exploring", url="https://arxiv.org/abs/2004.03829",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
        equation=r"h \leftarrow h + U \max\big(0, D\, \mathrm{LN}(h)\big)",
        symbols=r"$\mathrm{LN}$ a new layer norm, trained; $D$ $(m, d_\text{model})$, $U$ $(d_\text{model}, m)$.",
    ),
    _row(
        "adapter_fusion", "adapter.adapter_fusion:AdapterFusion", "AdapterFusion", 2020, 5e-5,
        paper="Pfeiffer et al. (2021), AdapterFusion: Non-Destructive Task Composition for Transfer Learning",
        reference="pfeiffer2021adapterfusion", url="https://arxiv.org/abs/2005.00247",
        identity_at_start=False, stores_more="the frozen adapters that it fuses",
        tiny={"bottlenecks": (4, 3)},
        equation=r"h \leftarrow h + \sum_n s_n V z_n, \qquad s = \operatorname{softmax}_n(Q q \cdot K z_n)",
        symbols=r"$z_n$ the output of frozen adapter $n$, $q$ the layer's state; the attention's $Q$, $K$, $V$ are trained, $V = I$ at first.",
    ),
    _row(
        "adapter_drop", "adapter.adapter_drop:AdapterDrop", "AdapterDrop", 2020, 1e-3,
        paper="Rücklé et al. (2021), AdapterDrop: On the Efficiency of Adapters in Transformers",
        reference="ruckle2021adapterdrop", url="https://arxiv.org/abs/2010.11918",
        identity_at_start=False, tiny={"bottleneck": 4}, small={"bottleneck": 16},
        equation=r"h_\ell \leftarrow \begin{cases} h_\ell & \ell < n \\ h_\ell + U \varphi(D h_\ell + d) + u & \ell \ge n \end{cases}",
        symbols=r"$n$ is drawn anew for each batch, so that the adapters of the lowest $n$ layers can be left out afterwards.",
    ),
    _row(
        "parallel", "adapter.parallel:ParallelAdapter", "Parallel adapters", 2021, 1e-3,
        paper="He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning",
        reference="he2022towards", url="https://arxiv.org/abs/2110.04366",
        tiny={"bottleneck": 4}, small={"bottleneck": 16},
        equation=r"h \leftarrow h + s\,\big(U \varphi(D x + d) + u\big)",
        symbols=r"$x$ what the sub-layer reads, $h$ what it writes, $s$ a fixed scale; $U = 0$ at first.",
    ),
    _row(
        "compacter", "adapter.compacter:Compacter", "Compacter", 2021, 3e-3,
        paper="Karimi Mahabadi et al. (2021), Compacter: Efficient Low-Rank Hypercomplex Adapter Layers",
        reference="mahabadi2021compacter", url="https://arxiv.org/abs/2106.04647",
        identity_at_start=False, tiny={"bottleneck": 8},
        equation=r"W = \sum_{i=1}^{n} A_i \otimes (s_i\, t_i), \qquad h \leftarrow h + W_U\, \varphi(W_D h)",
        symbols=r"$A_i$ $(n, n)$, shared by all layers; $s_i t_i$ a product of rank one; $\otimes$ the Kronecker product. Both matrices of the adapter have this form.",
    ),
    _row(
        "compacter_plus_plus", "adapter.compacter:CompacterPlusPlus", "Compacter++", 2021, 3e-3,
        paper="Karimi Mahabadi et al. (2021), Compacter: Efficient Low-Rank Hypercomplex Adapter Layers",
        reference="mahabadi2021compacter", url="https://arxiv.org/abs/2106.04647",
        identity_at_start=False, tiny={"bottleneck": 8},
        equation=r"W = \sum_{i=1}^{n} A_i \otimes (s_i\, t_i), \qquad h \leftarrow h + W_U\, \varphi(W_D h)",
        symbols=r"As in Compacter, behind the feed-forward network alone.",
    ),
    _row(
        "adapter_plus", "adapter.adapter_plus:AdapterPlus", "Adapter+", 2024, 1e-3,
        paper="Steitz and Roth (2024), Adapters Strike Back",
        reference="steitz2024adapters", url="https://arxiv.org/abs/2406.06820",
        identity_at_start=False, tiny={"bottleneck": 4},
        equation=r"h \leftarrow h + s \odot \big(U \varphi(D h + d) + u\big)",
        symbols=r"$s$ $(d_\text{model},)$, one trained scale for each channel, 1 at first; $D$ $(m, d_\text{model})$, $U$ $(d_\text{model}, m)$.",
    ),
    _row(
        "mad_x", "adapter.mad_x:MADX", "MAD-X language adapters", 2020, 1e-3,
        paper="Pfeiffer et al. (2020), MAD-X: An Adapter-Based Framework for Multi-Task Cross-Lingual Transfer",
        reference="pfeiffer2020madx", url="https://arxiv.org/abs/2005.00052",
        where="stream, and the word embeddings", identity_at_start=False, tiny={"bottleneck": 4},
        small={"bottleneck": 32},
        equation=r"h \leftarrow h + U\, \varphi(D x), \qquad y_1 = e_1 + F(e_2),\; y_2 = e_2 + G(y_1)",
        symbols=r"An adapter in each layer, and an invertible one behind the embeddings, $e = [e_1, e_2]$, whose inverse stands before the prediction of words. $F$, $G$ small networks.",
    ),
    # prompts
    _row(
        "prompt_tuning", "prompt.prompt_tuning:PromptTuning", "Prompt tuning", 2021, 3e-2,
        paper="Lester et al. (2021), The Power of Scale for Parameter-Efficient Prompt Tuning",
        reference="lester2021power", url="https://arxiv.org/abs/2104.08691",
        identity_at_start=False,
        stores_more="with T5 a second prompt, which PEFT has and does not read",
        tiny={"length": 3}, small={"length": 10},
        equation=r"\big[\,E(w_1), \dots, E(w_n)\big] \leftarrow \big[\,P;\; E(w_1), \dots, E(w_n)\big]",
        symbols=r"$P$ $(p, d_\text{model})$: $p$ trained vectors in front of the embedded words.",
    ),
    _row(
        "p_tuning", "prompt.p_tuning:PTuning", "P-tuning", 2021, 1e-3,
        paper="Liu et al. (2024), GPT Understands, Too",
        reference="liu2024gpt", url="https://arxiv.org/abs/2103.10385",
        identity_at_start=False,
        stores_more="the prompt as well as the network that made it, for PEFT",
        cannot={"compiling": "torch.compile takes no recurrent networks"},
        tiny={"length": 3, "hidden": 8}, small={"length": 10},
        equation=r"P = \mathrm{MLP}\big(\mathrm{BiLSTM}(P')\big)",
        symbols=r"$P$ stands among the embedded words; $P'$ and the network that makes $P$ of it are trained, and the network can be dropped afterwards.",
    ),
    _row(
        "multitask_prompt_tuning", "prompt.multitask_prompt_tuning:MultitaskPromptTuning", "Multitask prompt tuning", 2023, 3e-2,
        paper="Wang et al. (2023), Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning",
        reference="wang2023multitask", url="https://arxiv.org/abs/2303.02861",
        identity_at_start=False, tiny={"length": 3, "tasks": 2, "rank": 2}, small={"length": 10},
        equation=r"P_k = P \circ (u_k v_k^\top)",
        symbols=r"$P$ $(p, d_\text{model})$ is shared by all tasks; $u_k$ $(p, r)$ and $v_k$ $(d_\text{model}, r)$ rescale it for task $k$.",
    ),
    _row(
        "prefix_tuning", "prompt.prefix_tuning:PrefixTuning", "Prefix tuning", 2021, 5e-3,
        paper="Li and Liang (2021), Prefix-Tuning: Optimizing Continuous Prompts for Generation",
        reference="li2021prefix", url="https://arxiv.org/abs/2101.00190",
        identity_at_start=False,
        stores_more="the prefix as well as the network that made it, for PEFT",
        tiny={"length": 3, "hidden": 8}, small={"length": 10, "hidden": 64},
        equation=r"\mathrm{Attn}\big(Q, [P_K; K], [P_V; V]\big), \qquad (P_K, P_V) = \mathrm{MLP}(P')",
        symbols=r"Each layer has $p$ trained keys and values in front of those of the words; while training, one small matrix $P'$ and a network make them.",
    ),
    _row(
        "p_tuning_v2", "prompt.p_tuning_v2:PTuningV2", "P-tuning v2", 2021, 1e-2,
        paper="Liu et al. (2022), P-Tuning: Prompt Tuning Can Be Comparable to Fine-tuning Across Scales and Tasks",
        reference="liu2022ptuning", url="https://arxiv.org/abs/2110.07602",
        identity_at_start=False, tiny={"length": 3}, small={"length": 10},
        equation=r"\mathrm{Attn}\big(Q, [P_K; K], [P_V; V]\big)",
        symbols=r"$P_K$, $P_V$: $p$ keys and values for each head and layer, trained directly.",
    ),
    _row(
        "llama_adapter", "prompt.llama_adapter:LLaMAAdapter", "LLaMA-Adapter", 2023, 9e-3,
        paper="Zhang et al. (2023), LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention",
        reference="zhang2023llamaadapter", url="https://arxiv.org/abs/2303.16199",
        tiny={"length": 3},
        equation=r"\operatorname{softmax}(Q K^\top) V + \tanh(g)\, \operatorname{softmax}(Q K_P^\top) V_P",
        symbols=r"$K_P$, $V_P$ the layer's own frozen projections of a trained prompt $P$ $(p, d_\text{model})$; $g$ a gate for each head, 0 at first. The usual scale $1/\sqrt{d_\text{head}}$ is left out.",
    ),
    # low rank
    _row(
        "lora", "low_rank.lora:LoRA", "LoRA", 2021, 1e-3,
        paper="Hu et al. (2022), LoRA: Low-Rank Adaptation of Large Language Models",
        reference="hu2022lora", url="https://arxiv.org/abs/2106.09685",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\, B A x",
        symbols=r"$A$ $(r, d_\text{in})$ random, $B$ $(d_\text{out}, r)$ zero at first; $r$ the rank, $\alpha$ a scale.",
    ),
    _row(
        "rslora", "low_rank.rslora:RsLoRA", "rsLoRA", 2023, 5e-4,
        paper="Kalajdzievski (2023), A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA",
        reference="kalajdzievski2023rslora", url="https://arxiv.org/abs/2312.03732",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{\sqrt r}\, B A x",
        symbols=r"LoRA with the scale $\alpha / \sqrt r$ in place of $\alpha / r$, which keeps the update's size as $r$ grows. $A$ $(r, d_\text{in})$, $B$ $(d_\text{out}, r)$.",
    ),
    _row(
        "lora_plus", "low_rank.lora_plus:LoRAPlus", "LoRA+", 2024, 2e-4,
        paper="Hayou et al. (2024), LoRA+: Efficient Low Rank Adaptation of Large Models",
        reference="hayou2024loraplus", url="https://arxiv.org/abs/2402.12354",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\, B A x, \qquad \eta_B = \lambda\, \eta_A",
        symbols=r"LoRA whose $B$ learns $\lambda$ times as fast as its $A$. $A$ $(r, d_\text{in})$, $B$ $(d_\text{out}, r)$.",
    ),
    _row(
        "lora_fa", "low_rank.lora_fa:LoRAFA", "LoRA-FA", 2023, 1e-3,
        paper="Zhang et al. (2023), LoRA-FA: Memory-Efficient Low-Rank Adaptation for Large Language Models Fine-Tuning",
        reference="zhang2023lorafa", url="https://arxiv.org/abs/2308.03303",
        mergeable=True, stores_more="the frozen A, which PEFT reads", tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\, B A x, \qquad A \text{ frozen}",
        symbols=r"Only $B$ $(d_\text{out}, r)$ is trained, so that of $x$ no more than $A x$, $r$ numbers, has to be kept.",
    ),
    _row(
        "dora", "low_rank.dora:DoRA", "DoRA", 2024, 1e-3,
        paper="Liu et al. (2024), DoRA: Weight-Decomposed Low-Rank Adaptation",
        reference="liu2024dora", url="https://arxiv.org/abs/2402.09353",
        mergeable=True, tiny={"rank": 2},
        equation=r"W = m \odot \frac{W_0 + \frac{\alpha}{r} B A}{\big\lVert W_0 + \frac{\alpha}{r} B A \big\rVert}",
        symbols=r"Each row's length is a trained number of $m$ $(d_\text{out},)$; the norm is that of a row. $A$ $(r, d_\text{in})$, $B$ $(d_\text{out}, r)$.",
    ),
    _row(
        "pissa", "low_rank.pissa:PiSSA", "PiSSA", 2024, 2e-4,
        paper="Meng et al. (2024), PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
        reference="meng2024pissa", url="https://arxiv.org/abs/2404.02948",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\,(B A - B_0 A_0)\, x",
        symbols=r"$B_0 A_0$ holds the $r$ largest singular values of $W_0$ with their vectors; $A$, $B$ begin there.",
    ),
    _row(
        "olora", "low_rank.olora:OLoRA", "OLoRA", 2024, 2e-4,
        paper="Büyükakyüz (2024), OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models",
        reference="buyukakyuz2024olora", url="https://arxiv.org/abs/2406.01775",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\,(B A - B_0 A_0)\, x",
        symbols=r"$B_0$, $A_0$ are the first $r$ columns and rows of $W_0 = Q R$; $A$, $B$ begin there.",
    ),
    _row(
        "loha", "low_rank.loha:LoHa", "LoHa", 2023, 1e-3,
        paper="Yeh et al. (2024), Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
        reference="yeh2024navigating", url="https://arxiv.org/abs/2309.14859",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\,\big[(B_1 A_1) \odot (B_2 A_2)\big]\, x",
        symbols=r"$\odot$ multiplies entry by entry: a rank of up to $r^2$. $A_i$ $(r, d_\text{in})$, $B_i$ $(d_\text{out}, r)$.",
    ),
    _row(
        "lokr", "low_rank.lokr:LoKr", "LoKr", 2023, 3e-3,
        paper="Yeh et al. (2024), Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
        reference="yeh2024navigating", url="https://arxiv.org/abs/2309.14859",
        mergeable=True, tiny={"rank": 2},
        equation=r"h \leftarrow h + \frac{\alpha}{r}\,(C \otimes D)\, x",
        symbols=r"$\otimes$ the Kronecker product; $C$ $(l, a)$ zero at first, $D$ $(k, b)$, a product of rank $r$ where that is less; $d_\text{out} = l k$, $d_\text{in} = a b$.",
    ),
    _row(
        "vera", "low_rank.vera:VeRA", "VeRA", 2023, 1e-2,
        paper="Kopiczko et al. (2024), VeRA: Vector-Based Random Matrix Adaptation",
        reference="kopiczko2024vera", url="https://arxiv.org/abs/2310.11454",
        mergeable=True, tiny={"rank": 8},
        equation=r"h \leftarrow h + b \odot B\,\big(d \odot A x\big)",
        symbols=r"$A$ and $B$ random, frozen and shared by all layers; the vectors $d$ $(r,)$ and $b$ $(d_\text{out},)$ are trained, $b = 0$ at first.",
    ),
    _row(
        "randlora", "low_rank.randlora:RandLoRA", "RandLoRA", 2025, 1e-3,
        paper="Albert et al. (2025), RandLoRA: Full-Rank Parameter-Efficient Fine-Tuning of Large Models",
        reference="albert2025randlora", url="https://arxiv.org/abs/2502.00987",
        mergeable=True, tiny={"rank": 8, "alpha": 16.0}, small={"rank": 16, "alpha": 32.0},
        equation=r"h \leftarrow h + s \sum_{j=1}^{n} B_j \Lambda_j A\, \Gamma_j\, x",
        symbols=r"$A$, $B_j$ random, frozen and shared; the diagonals $\Lambda_j$ (zero at first) and $\Gamma_j$ are trained. With $n r \ge \min(d_\text{in}, d_\text{out})$ the update has full rank.",
    ),
    _row(
        "delta_lora", "low_rank.delta_lora:DeltaLoRA", "Delta-LoRA", 2023, 1e-3,
        paper="Zi et al. (2023), Delta-LoRA: Fine-Tuning High-Rank Parameters with the Delta of Low-Rank Matrices",
        reference="zi2023deltalora", url="https://arxiv.org/abs/2309.02411",
        mergeable=True, stores_more="A and B as they were when W began to move", tiny={"rank": 2},
        equation=r"W \leftarrow W + \lambda\,\frac{\alpha}{r}\,\big(B' A' - B A\big)",
        symbols=r"Added to LoRA: in each step after the first $K$, the weight follows the change of the product. $A$, $B$ before the step, $A'$, $B'$ after it.",
    ),
    _row(
        "adalora", "low_rank.adalora:AdaLoRA", "AdaLoRA", 2023, 2e-3,
        paper="Zhang et al. (2023), Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
        reference="zhang2023adalora", url="https://arxiv.org/abs/2303.10512",
        mergeable=True, last_counts=True, stores_less="what was pruned away",
        tiny={"rank": 2, "start_rank": 3},
        equation=r"h \leftarrow h + s\, P \Lambda Q x",
        symbols=r"$\Lambda$ diagonal, zero at first; $P$, $Q$ nearly orthogonal. The triplets that matter least are pruned away while it trains, so the rank goes where it is needed.",
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
        equation=r"h = \widetilde W x + \frac{\alpha}{r}\, B A x",
        symbols=r"$\widetilde W$ the frozen weight in four bits (NF4, with quantised scales); $A$ $(r, d_\text{in})$, $B$ $(d_\text{out}, r)$.",
    ),
    _row(
        "galore", "low_rank.galore:GaLore", "GaLore", 2024, 1e-4,
        paper="Zhao et al. (2024), GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection",
        reference="zhao2024galore", url="https://arxiv.org/abs/2403.03507",
        where="every linear map of the layers; the rest in full", mergeable=True,
        stores_more="projectors", tiny={"rank": 2}, small={"interval": 50},
        equation=r"G_t \to R_t = P_t^\top G_t, \qquad W \leftarrow W - \eta\, \alpha\, P_t\, \mathrm{Adam}(R_t)",
        symbols=r"$G_t$ the gradient of a whole weight, $P_t$ its first $r$ singular vectors, renewed every $T$ steps: all weights change, and the optimiser sees $r$ coordinates.",
    ),
    # sparse
    _row(
        "bitfit", "sparse.bitfit:BitFit", "BitFit", 2021, 2e-3,
        paper="Ben Zaken et al. (2022), BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
        reference="benzaken2022bitfit", url="https://arxiv.org/abs/2106.10199",
        where="every bias", mergeable=True,
        equation=r"h = W_0 x + b, \qquad b \leftarrow b_0 + \Delta b",
        symbols=r"Only the biases $b$ that the base has are trained.",
    ),
    _row(
        "random_mask", "sparse.mask:RandomMask", "Random mask", 2021, 1e-3,
        paper="Sung et al. (2021), Training Neural Networks with Fixed Sparse Masks",
        reference="sung2021fish", url="https://arxiv.org/abs/2111.09839",
        where="every weight", mergeable=True, stores_more="the places of the values",
        tiny={"density": 0.02},
        equation=r"\theta = \theta_0 + m \odot \delta, \qquad m \in \{0, 1\}^P \text{ drawn at random}",
        symbols=r"$P$ the number of weights; only the chosen entries of $\delta$ are kept and trained.",
    ),
    _row(
        "fish_mask", "sparse.fish_mask:FishMask", "FISH mask", 2021, 1e-3,
        paper="Sung et al. (2021), Training Neural Networks with Fixed Sparse Masks",
        reference="sung2021fish", url="https://arxiv.org/abs/2111.09839",
        where="every weight", mergeable=True, stores_more="the places of the values",
        tiny={"density": 0.02, "samples": 4}, small={"samples": 256},
        equation=r"\theta = \theta_0 + m \odot \delta, \qquad \hat F_\theta = \frac1N \sum_{n} \big(\nabla_\theta \log p(y_n \mid x_n)\big)^2",
        symbols=r"$m$ keeps the weights with the largest empirical Fisher information $\hat F$ on $N$ examples.",
    ),
    _row(
        "lt_sft", "sparse.lt_sft:LTSFT", "LT-SFT", 2021, 1e-3,
        paper="Ansell et al. (2022), Composable Sparse Fine-Tuning for Cross-Lingual Transfer",
        reference="ansell2022composable", url="https://arxiv.org/abs/2110.07560",
        where="every weight", mergeable=True, stores_more="the places of the values",
        tiny={"density": 0.02, "full_steps": 1}, small={"full_learning_rate": 0.0005},
        equation=r"\theta = \theta_0 + m \odot \delta, \qquad m \text{ where } |\theta_\text{full} - \theta_0| \text{ is largest}",
        symbols=r"$\theta_\text{full}$ the weights after a first phase of full fine-tuning; then training begins again from $\theta_0$.",
    ),
    _row(
        "layer_norm", "sparse.layer_norm:LayerNormTuning", "LayerNorm tuning", 2022, 2e-3,
        paper="Qi et al. (2022), Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models",
        reference="qi2022layernorm", url="https://arxiv.org/abs/2211.08682",
        where="every layer norm", mergeable=True,
        equation=r"\mathrm{LN}(h) = \gamma \odot \frac{h - \mu}{\sigma} + \beta",
        symbols=r"Of the base, the scales $\gamma$ and shifts $\beta$ of the layer norms are trained; $\mu$, $\sigma$ are mean and deviation of $h$.",
    ),
    _row(
        "diff_pruning", "sparse.diff_pruning:DiffPruning", "Diff pruning", 2020, 1e-4,
        paper="Guo et al. (2021), Parameter-Efficient Transfer Learning with Diff Pruning",
        reference="guo2021diff", url="https://arxiv.org/abs/2012.07463",
        where="every weight", mergeable=True, last_counts=True, stores_less="what was pruned away",
        cannot={"checkpointing": "its gates are drawn anew when a block is computed again"},
        equation=r"\theta = \theta_0 + z \odot w, \qquad \text{loss} + \lambda\, \mathbb E \lVert z \rVert_0",
        symbols=r"$w$ a difference for each weight, $z$ gates in $[0, 1]$ that the penalty closes; few are left open at the end.",
    ),
    _row(
        "did", "sparse.said:IntrinsicDID", "Intrinsic DID", 2020, 1e-2,
        paper="Aghajanyan et al. (2021), Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
        reference="aghajanyan2021intrinsic", url="https://arxiv.org/abs/2012.13255",
        where="every weight", surveys="reparametrisation", mergeable=True, tiny={"dimension": 100},
        equation=r"\theta = \theta_0 + \Pi\, z",
        symbols=r"$\Pi$ a fixed random projection; the $d$ numbers $z$ are all that is trained.",
    ),
    _row(
        "said", "sparse.said:IntrinsicSAID", "Intrinsic SAID", 2020, 1e-2,
        paper="Aghajanyan et al. (2021), Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
        reference="aghajanyan2021intrinsic", url="https://arxiv.org/abs/2012.13255",
        where="every weight", surveys="reparametrisation", mergeable=True, tiny={"dimension": 100},
        equation=r"\theta_i = \theta_{0,i} + \lambda_i\, (\Pi z)_i",
        symbols=r"As DID, with one trained scale $\lambda_i$ for each tensor.",
    ),
    # others
    _row(
        "ia3", "others.ia3:IA3", "(IA)³", 2022, 5e-3,
        paper="Liu et al. (2022), Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        reference="liu2022fewshot", url="https://arxiv.org/abs/2205.05638",
        mergeable=True,
        equation=r"k \leftarrow l_k \odot k, \qquad v \leftarrow l_v \odot v, \qquad h_\text{ffn} \leftarrow l_\text{ffn} \odot h_\text{ffn}",
        symbols=r"Three vectors a layer, all 1 at first, rescale keys, values and the hidden state of the feed-forward network.",
    ),
    _row(
        "mam", "others.mam:MAMAdapter", "MAM adapter", 2021, 1e-3,
        paper="He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning",
        reference="he2022towards", url="https://arxiv.org/abs/2110.04366",
        identity_at_start=False, tiny={"length": 3, "hidden": 8, "bottleneck": 4},
        small={"length": 10, "hidden": 64, "bottleneck": 16},
        equation=r"\mathrm{Attn}\big(Q, [P_K; K], [P_V; V]\big), \qquad h \leftarrow h + s\,\big(U \varphi(D x + d) + u\big)",
        symbols=r"A short prefix at the attention and a parallel adapter at the feed-forward network.",
    ),
    _row(
        "unipelt", "others.unipelt:UniPELT", "UniPELT", 2021, 5e-4,
        paper="Mao et al. (2022), UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning",
        reference="mao2022unipelt", url="https://arxiv.org/abs/2110.07577",
        where="attention.query, attention.value, attention.keys_values, stream",
        model_tasks=("sequence_classification", "token_classification", "masked_lm", "features"),
        identity_at_start=False, tiny={"length": 3, "hidden": 8, "rank": 2, "bottleneck": 4},
        small={"bottleneck": 16, "hidden": 64},
        equation=r"h \leftarrow h + G\,\big(f(x, h) - h\big), \qquad G = \sigma(w \cdot x + b)",
        symbols=r"$f$ an adapter, a prefix or LoRA, each behind a gate $G$ of its own, between 0 and 1: $\sigma(w \cdot x + b)$, averaged over the words of the text.",
    ),
    _row(
        "loreft", "others.loreft:LoReFT", "LoReFT", 2024, 2e-3,
        paper="Wu et al. (2024), ReFT: Representation Finetuning for Language Models",
        reference="wu2024reft", url="https://arxiv.org/abs/2404.03592",
        identity_at_start=False, tiny={"rank": 2, "first": 2},
        equation=r"h \leftarrow h + R^\top (W h + b - R h)",
        symbols=r"$R$ $(r, d_\text{model})$ with orthonormal rows: in their subspace $h$ becomes $W h + b$. Only at the first and last words.",
    ),
    _row(
        "oft", "others.oft:OFT", "OFT", 2023, 2e-3,
        paper="Qiu et al. (2023), Controlling Text-to-Image Diffusion by Orthogonal Finetuning",
        reference="qiu2023oft", url="https://arxiv.org/abs/2306.07280",
        mergeable=True, tiny={"block": 8},
        equation=r"h = W_0 R x + b, \qquad R = (I + Q)(I - Q)^{-1},\; Q = -Q^\top",
        symbols=r"$R$ turns the input and keeps its length, in blocks on the diagonal; $Q = 0$ at first.",
    ),
    _row(
        "fourierft", "others.fourierft:FourierFT", "FourierFT", 2024, 2e-2,
        paper="Gao et al. (2024), Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
        reference="gao2024fourierft", url="https://arxiv.org/abs/2405.03003",
        identity_at_start=False, mergeable=True, tiny={"frequencies": 20, "alpha": 20.0},
        small={"frequencies": 500},
        equation=r"h \leftarrow h + \alpha\, \mathrm{Re}\big(\mathcal F^{-1}(E)\big)\, x",
        symbols=r"$E$ a spectrum of the update with $n$ trained entries at fixed random places; $\mathcal F^{-1}$ the inverse discrete Fourier transform.",
    ),
)
# fmt: on
FACTS: dict[str, Facts] = {row.name: row for row in _ROWS}
