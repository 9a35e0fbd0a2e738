"""Published numbers of parameters, recomputed on models of the true sizes without weights.

One row for each figure that papers or libraries print and that a formula of theirs explains. A
paper's "0.8M" may mean 10^6 or 2^20, and some are cut off instead of rounded: `printed` says what
stands there, and the test holds it against `count` in either unit. More rows, with what they say of
one method, stand in that method's own test.
"""

import time
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    OPTConfig,
    Qwen2Config,
    T5Config,
)

import pftlab as pft
from pftlab.experiments.sizes import blank

SIX = ("attention.query", "attention.key", "attention.value", "attention.output", "ffn.up", "ffn.down")  # fmt: skip
WITHOUT_OUTPUT = ("attention.query", "attention.key", "attention.value", "ffn.up", "ffn.down")
EVERY_PROJECTION = (*SIX, "ffn.gate")
QUERY, VALUE = "attention.query", "attention.value"
IA3_OF_PEFT = ("attention.key", VALUE, "attention.output.input", "ffn.down.input")


class Row(NamedTuple):
    """One printed figure."""

    method: Any
    model: str
    count: int
    printed: str
    source: str


LORA, ADALORA = "Hu et al. (2022), Tables 2 to 4", "Zhang et al. (2023), Table 1"
COMPACTER, VERA = "Karimi Mahabadi et al. (2021), Table 1", "Kopiczko et al. (2024)"
HOULSBY, PEFT = "Houlsby et al. (2019)", "documentation of Hugging Face PEFT"
HUB = "notebooks of AdapterHub"


def lora(rank: int, *at: str) -> Any:
    return pft.LoRA(rank=rank, at=at or (QUERY, VALUE))


ROWS = [
    # LoRA's comparison
    Row(lora(8), "roberta-base", 294_912, "0.3M", LORA),
    Row(lora(8), "roberta-large", 786_432, "0.8M", LORA),
    Row(pft.Pfeiffer(bottleneck=16), "roberta-base", 304_320, "0.3M", LORA),
    Row(pft.Pfeiffer(bottleneck=48), "roberta-base", 894_528, "0.9M", LORA),
    Row(pft.Pfeiffer(bottleneck=16), "roberta-large", 811_392, "0.8M", LORA),
    Row(pft.Pfeiffer(bottleneck=64), "roberta-large", 3_171_840, "3.0M", LORA),
    Row(pft.Houlsby(bottleneck=8, layer_norm=False), "roberta-large", 835_968, "0.8M", LORA),
    Row(pft.Houlsby(bottleneck=64, layer_norm=False), "roberta-large", 6_343_680, "6.0M", LORA),
    # two blocks, and the layer norm behind the last, which the paper's 25,192,448 leaves out
    Row(pft.TopLayers(count=2), "gpt2-medium", 25_192_448 + 2 * 1024, "25.19M", LORA),
    Row(lora(1), "gpt3", 4_718_592, "4.7M", LORA),
    Row(lora(8), "gpt3", 37_748_736, "37.7M", LORA),
    Row(pft.Houlsby(bottleneck=1, layer_norm=False), "gpt3", 7_078_080, "7.1M", LORA),
    Row(pft.Houlsby(bottleneck=8, layer_norm=False), "gpt3", 40_109_568, "40.1M", LORA),
    Row(pft.PromptTuning(length=256 + 8), "gpt3", 3_244_032, "3.2M", LORA),
    Row(lora(8, QUERY), "gpt3", 18_874_368, "18M", "Hu et al. (2022), Table 5"),
    Row(lora(4), "gpt3", 18_874_368, "18M", "Hu et al. (2022), Table 5"),
    # AdaLoRA's, on DeBERTaV3-base, whose layers have the shapes of BERT-base's
    Row(lora(8, *SIX), "bert-base", 1_327_104, "1.33M", ADALORA),
    Row(lora(2, *SIX), "bert-base", 331_776, "0.33M", ADALORA),
    Row(pft.Houlsby(bottleneck=8, layer_norm=False), "bert-base", 313_536, "0.31M", ADALORA),
    Row(pft.Houlsby(bottleneck=16, layer_norm=False), "bert-base", 608_640, "0.61M", ADALORA),
    Row(pft.Pfeiffer(bottleneck=16), "bert-base", 304_320, "0.30M", ADALORA),
    Row(pft.Pfeiffer(bottleneck=32), "bert-base", 599_424, "0.60M", ADALORA),
    Row(pft.BitFit(), "bert-base", 102_912, "0.1M", ADALORA),
    # Compacter's, on T5-base: shares of 222,903,552
    Row(pft.PromptTuning(length=100), "t5-base", 76_800, "0.034%", COMPACTER),
    # VeRA's tables
    Row(lora(1), "roberta-base", 36_864, "36.8K", VERA),
    Row(lora(16), "roberta-base", 589_824, "589.8K", VERA),
    Row(lora(256), "roberta-base", 9_437_184, "9437.1K", VERA),
    Row(lora(64, *EVERY_PROJECTION), "llama-7b", 159_907_840, "159.9M", VERA),
    Row(lora(64, *EVERY_PROJECTION), "llama-13b", 250_347_520, "250.3M", VERA),
    Row(pft.VeRA(rank=1024), "roberta-base", 43_008, "0.043M", VERA),
    Row(pft.VeRA(rank=256), "roberta-large", 61_440, "0.061M", VERA),
    Row(pft.VeRA(rank=1), "roberta-large", 49_200, "49.2K", VERA),
    Row(pft.VeRA(rank=1), "gpt3", 2_359_488, "2.4M", VERA),
    # Houlsby et al.
    Row(pft.Houlsby(bottleneck=64, layer_norm=False), "bert-base", 2_379_264, "~2M", HOULSBY),
    Row(pft.LayerNormTuning(), "bert-base", 38_400, "~40k", HOULSBY),
    # Lester et al., with the width of T5-XXL
    Row(pft.PromptTuning(length=5), "t5-11b-width", 20_480, "20,480", "Lester et al. (2021)"),
    # What libraries print
    Row(lora(16), "qwen2.5-3b", 3_686_400, "3,686,400", PEFT),
    Row(lora(8, QUERY), "llama-3.2-1b", 524_288, "524,288", PEFT),
    Row(lora(16), "opt-350m", 1_572_864, "1,572,864", PEFT),
    Row(lora(16), "opt-6.7b", 8_388_608, "8,388,608", PEFT),
    Row(lora(16, QUERY, VALUE, "cross_attention.query", "cross_attention.value"),
        "t5-large", 4_718_592, "4,718,592", PEFT),
    Row(lora(8), "llama-3.1-8b", 3_407_872, "3,407,872", HUB),
    Row(lora(64, *WITHOUT_OUTPUT), "llama-3.1-8b", 113_246_208, "113,246,208", HUB),
    Row(pft.IA3(), "mt0-large", 282_624, "282,624", PEFT),
    Row(pft.FourierFT(frequencies=1000), "roberta-base", 24_000, "24,000", "Gao et al. (2024)"),
]  # fmt: skip


@cache
def empty(name: str) -> Any:
    """A model of the true size on the meta device; some that `pftlab count` does not know."""
    others: dict[str, Any] = {
        "qwen2.5-3b": Qwen2Config(
            hidden_size=2048, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2,
            intermediate_size=11008, vocab_size=151936, tie_word_embeddings=True,
        ),
        "llama-3.2-1b": LlamaConfig(
            hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
            intermediate_size=8192, vocab_size=128256, tie_word_embeddings=True,
        ),
        "opt-350m": OPTConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096,
            word_embed_proj_dim=512, do_layer_norm_before=False,
        ),
        "opt-6.7b": OPTConfig(
            hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, ffn_dim=16384,
            word_embed_proj_dim=4096,
        ),
        "mt0-large": T5Config(
            d_model=1024, d_ff=2816, num_layers=24, num_heads=16, feed_forward_proj="gated-gelu",
            vocab_size=250112,
        ),
        "t5-11b-width": T5Config(d_model=4096, num_layers=1),
    }  # fmt: skip
    if name not in others:
        return blank(name, num_labels=2 if "bert" in name else None)
    kind: Any = (
        AutoModelForSeq2SeqLM if name in ("mt0-large", "t5-11b-width") else AutoModelForCausalLM
    )
    with torch.device("meta"):
        return kind.from_config(others[name])


def agrees(count: int, total: int, printed: str) -> bool:
    """Whether `printed` is `count` in a unit that papers use, rounded or cut off."""
    number = printed.strip("~%MKk").replace(",", "")
    digits, value = len(number.partition(".")[2]), float(number)
    units = {"M": (1e6, 2**20), "K": (1e3,), "k": (1e3,), "%": (total / 100,)}
    last = 10.0**-digits if "." in printed or printed[-1] in "MKk%" else 0.5
    if printed.startswith("~"):
        last = 0.2 * value
    return any(abs(count / unit - value) < last for unit in units.get(printed[-1], (1,)))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.method.name}-{r.model}-{r.count}")
def test_count(row: Row) -> None:
    model = row.method.attach(empty(row.model))
    try:
        counted = pft.count(model)
        assert counted.trainable == row.count
        assert agrees(row.count, counted.total - counted.trainable, row.printed), row
    finally:
        pft.detach(model)


def test_totals_that_peft_prints() -> None:
    """Base and update together, as `print_trainable_parameters` has them."""
    for name, method, total in (
        ("qwen2.5-3b", lora(16), 3_089_625_088),
        ("opt-350m", lora(16), 332_769_280),
        ("llama-3.2-1b", lora(8, QUERY), 1_236_338_688),
    ):
        assert pft.count(method.attach(empty(name))).total == total, name
        pft.detach(empty(name))


@pytest.mark.parametrize(
    ("method", "size", "count"),
    [
        (pft.IA3(at=IA3_OF_PEFT), "roberta-large", 1_223_682),  # its notebook counts the head twice
        (pft.FourierFT(frequencies=1000), "roberta-base", 616_130),
        (pft.VeRA(rank=8, at=(QUERY, VALUE, "ffn.up")), "roberta-base", 647_714),
        (lora(8), "bert-base", 296_450),
    ],
)
def test_counts_of_peft_that_include_the_head(method: Any, size: str, count: int) -> None:
    counted = pft.count(method.attach(blank(size, num_labels=2)))
    assert counted.trainable + counted.head == count


@pytest.mark.parametrize(
    ("method", "adapters", "percent"),
    [
        (pft.Houlsby(bottleneck=24, layer_norm=False), 48, 0.832),
        (pft.Pfeiffer(bottleneck=24), 24, 0.427),
        # AdapterDrop: none in the first five layers of either stack
        (pft.Houlsby(bottleneck=24, layer_norm=False, layers=tuple(range(5, 12))), 28, 0.494),
    ],
)
def test_adapters_of_compacters_table(method: Any, adapters: int, percent: float) -> None:
    """Karimi Mahabadi et al. (2021), Table 1: T5-base, with its layer norms trained beside each."""
    model = method.attach(blank("t5-base"))
    base = sum(p.numel() for n, p in model.named_parameters() if ".pft_" not in n)
    pft.LayerNormTuning().attach(model)
    count = adapters * (2 * 768 * 24 + 24 + 768) + 47_616
    assert pft.count(model).trainable == count
    assert round(100 * count / base, 3) == percent


def test_unipelt_spares_what_its_footnote_says() -> None:
    """Mao et al. (2022): its adapters have 62.4 % to 90.5 % fewer parameters than Houlsby's."""
    ours = pft.count(pft.Pfeiffer(bottleneck=48).attach(blank("bert-base"))).trainable
    for width, spared in ((64, 62.4), (256, 90.5)):
        houlsby = pft.Houlsby(bottleneck=width, layer_norm=False).attach(blank("bert-base"))
        assert round(100 * (1 - ours / pft.count(houlsby).trainable), 1) == spared


def test_bytes_of_qlora() -> None:
    """Dettmers et al. (2023): over 780 GB for a 65B model, and 0.373 bits saved a parameter."""
    with torch.device("meta"):
        total = sum(p.numel() for p in blank("llama-65b").parameters())
    assert 780e9 < 12 * total < 786e9  # 16-bit weights and gradients, two 32-bit moments
    plain, doubled = 32 / 64, 8 / 64 + 32 / (64 * 256)
    assert round(plain - doubled, 3) == 0.373
    assert round((plain - doubled) * total / 8 / 1e9, 1) == 3.0


def test_all_of_it_is_quick() -> None:
    """A count builds shapes and nothing else, whatever the size of the model."""
    start = time.process_time()
    pft.count(lora(8).attach(blank("gpt3")))
    assert time.process_time() - start < 10
