"""One backbone, several LoRA adapters, a batch whose rows have different ones: what it costs.

    python benchmarks/mixed_batch.py
    python benchmarks/mixed_batch.py --size large --batch-size 64        # on a GPU

Four ways take turns, in another order in every round, so that what slows the machine down slows all
of them down; a ratio compares passes of one round with that of the mixed batch:

    base      the same batch without adapters
    mixed     pftlab.rows: the adapters' products grouped
    apart     a batch for each adapter, with its rows alone
    peft      Hugging Face PEFT's mixed batch (adapter_names=), one adapter after the other

The models are random Llamas; adapters have random values, the same in both libraries. Before the
clock runs, every row of the mixed batch is compared with what its adapter computes alone. On a CPU
it is one thread's processor time, which does not see other programs; on a GPU the clock's.
"""

import argparse
import json
import random
import statistics
import sys
import warnings
from collections.abc import Callable

import torch
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.clock import timed
from pftlab.experiments.origin import device_name

#: hidden size, layers, heads, key-value heads, width of the feed-forward network, words
SIZES = {
    "small": (128, 4, 4, 2, 384, 1000),
    "medium": (576, 12, 9, 3, 1536, 8000),
    "large": (2048, 16, 32, 8, 8192, 32000),
}
WAYS = ("base", "mixed", "apart", "peft")
WARM_UP = 2
AT = ("attention.query", "attention.value")


def backbone(size: str, device: str, dtype: torch.dtype) -> LlamaForCausalLM:
    width, layers, heads, key_value_heads, inner, words = SIZES[size]
    config = LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=key_value_heads, intermediate_size=inner, vocab_size=words,
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(device, dtype).eval()


def with_ours(model: LlamaForCausalLM, names: list[str], rank: int) -> LlamaForCausalLM:
    for seed, name in enumerate(names):
        pft.LoRA(rank=rank, at=AT).attach(model, name, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for *_, delta in planted(model, name):
            delta.B.data = (0.02 * torch.randn(delta.B.shape, generator=generator)).to(delta.B)
    return model


def with_theirs(model: LlamaForCausalLM, ours: LlamaForCausalLM, names: list[str], rank: int):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    for number, name in enumerate(names):
        if number == 0:
            wrapped = get_peft_model(model, config, adapter_name=name)
        else:
            wrapped.add_adapter(name, config)
    layers = dict(model.named_modules())
    for path, _, _, delta in planted(ours):
        layer = layers[path]
        layer.lora_A[delta.method_name].weight.data.copy_(delta.A)
        layer.lora_B[delta.method_name].weight.data.copy_(delta.B)
    return wrapped.eval()


def passes(given: argparse.Namespace, device: str) -> tuple[dict[str, Callable], float, float]:
    """The ways by name, and how far mixed rows are from each alone, ours and PEFT's."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    names = [f"adapter_{i}" for i in range(given.adapters)]
    model = with_ours(backbone(given.size, device, dtype), names, given.rank)
    other = with_theirs(backbone(given.size, device, dtype), model, names, given.rank)
    owners = [names[row % len(names)] for row in range(given.batch_size)]
    random.Random(0).shuffle(owners)
    words = model.config.vocab_size
    ids = torch.randint(words, (given.batch_size, given.length), device=device)
    own = {name: ids[[row for row, n in enumerate(owners) if n == name]] for name in names}

    @torch.no_grad()
    def base() -> torch.Tensor:
        with pft.rows(model, None):
            return model(ids).logits

    @torch.no_grad()
    def mixed() -> torch.Tensor:
        with pft.rows(model, owners):
            return model(ids).logits

    @torch.no_grad()
    def apart() -> torch.Tensor:
        out = None
        for name, rows in own.items():
            pft.use(model, name)
            logits = model(rows).logits
            if out is None:
                out = logits.new_empty(len(ids), *logits.shape[1:])
            out[[row for row, n in enumerate(owners) if n == name]] = logits
        return out

    @torch.no_grad()
    def peft() -> torch.Tensor:
        return other(ids, adapter_names=owners).logits

    alone = apart()
    far = [(way() - alone).abs().max().item() / alone.abs().max().item() for way in (mixed, peft)]
    return {"base": base, "mixed": mixed, "apart": apart, "peft": peft}, far[0], far[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small", help="(%(default)s)")
    parser.add_argument("--adapters", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--rank", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="rows (%(default)s)")
    parser.add_argument("--length", type=int, default=32, help="of a text in tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="timed passes (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="peft")

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    ways, far, theirs = passes(given, device)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    order = random.Random(0)
    for number in tqdm(range(WARM_UP + given.rounds), unit="round", file=sys.stderr):
        for way in order.sample(WAYS, len(WAYS)):
            milliseconds = timed(ways[way], device)
            if number >= WARM_UP:
                times[way].append(milliseconds)

    rows = []
    for way in WAYS:
        ratios = [a / b for a, b in zip(times[way], times["mixed"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "way": way,
                "milliseconds": statistics.median(times[way]),
                "ratio": statistics.median(ratios),
                "ratio_quartiles": [low, high],
            }
        )
    facts = vars(given) | {"device": device_name(), "difference": far, "difference_peft": theirs}
    if given.json:
        print(json.dumps(facts | {"rows": rows}, indent=2))
        return
    print(
        f"{given.size} Llama, {given.adapters} LoRA adapters of rank {given.rank}, "
        f"{given.batch_size} rows of {given.length} tokens, {given.rounds} rounds, {device_name()}"
    )
    print(f"Largest relative difference from each alone: mixed {far:.1e}, peft {theirs:.1e}.")
    print("ratio: of a pass's time to that of the mixed batch, median and quartiles.")
    print(f"{'way':8}{'ms':>9}  ratio")
    for row in rows:
        low, high = row["ratio_quartiles"]
        print(
            f"{row['way']:8}{row['milliseconds']:9.1f}  {row['ratio']:.2f} ({low:.2f}–{high:.2f})"
        )


if __name__ == "__main__":
    main()
