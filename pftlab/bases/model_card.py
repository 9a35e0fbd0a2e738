"""The card of a base model that the book pretrained: its README, written from its history.

python -m pftlab.bases.model_card     writes the README of every model in pftlab/bases/weights
"""

import textwrap

from ..core.files import atomic_write
from .cards import BASES, WEIGHTS, BaseCard
from .history import History, learning_curve, read_history

# Where the pretraining text comes from, and on what terms. Keys are the sources of the corpus.
SOURCES = {
    "gutenberg_fiction": (
        "Fiction of 44 authors from Project Gutenberg",
        "public domain in the USA",
    ),
    "openstax_textbooks": ("Textbooks of OpenStax, Rice University", "CC BY 4.0"),
    "us_presidential_speeches": (
        "State of the Union and inaugural addresses of US presidents",
        "public domain",
    ),
    "wikipedia_en_2015": (
        "English Wikipedia, a dump of 2015, the beginnings of articles",
        "CC BY-SA 3.0",
    ),
}
HELD_OUT_ONLY = {"imdb_unsup_reviews": "Film reviews, of which pretraining saw none"}

USE = {
    "bert": """```python
import pftlab as pft

model = pft.load_base("{name}", num_labels=2)
```

The folder is also a plain transformers folder: `AutoModel.from_pretrained` and
`AutoTokenizer.from_pretrained` open it without `pftlab`. It holds the masked-language-model head
and a pooler that was pretrained, too.""",
    "gpt2": """```python
import pftlab as pft

model = pft.load_base("{name}")  # the language model; num_labels=2 for a classifier
```

The folder is also a plain transformers folder: `AutoModelForCausalLM.from_pretrained` and
`AutoTokenizer.from_pretrained` open it without `pftlab`.""",
    "t5": """```python
import pftlab as pft

model = pft.load_base("{name}")  # reads a text and writes one; num_labels=2 for a classifier
```

The folder is also a plain transformers folder: `AutoModelForSeq2SeqLM.from_pretrained` and
`AutoTokenizer.from_pretrained` open it without `pftlab`. As it is, the model does one thing: where
a text has `<extra_id_0>`, `<extra_id_1>`, … in the place of words, it writes each of these and,
behind it, the words. Any other task it has to be taught.""",
}
# Of span corruption, as the recipe has them (`pretraining.objectives.SpanObjective`).
ROW, TAKEN, SPANS = 284, 43, 14
RECIPE = {"bert": "encoder", "gpt2": "decoder", "t5": "ladder --rungs seq2seq-3m"}
LIMITS = """* It is small and was trained for minutes, to learn and teach with. Do not rely on it.
* English only. Text of 2015 and before, much of it of the 19th century, with the views and the
  prejudices of its time. What the model says is not true because it says it.
* At most 256 tokens.
* Capitals beyond Latin, Greek and Cyrillic are lost."""


def card_text(card: BaseCard, history: History) -> str:
    """Write the card of one model in Markdown."""
    runs = history["runs"]
    last = runs[-1]
    positions = sum(run["steps"] * run["tokens_per_step"] for run in runs)
    seconds = sum(run["seconds"] for run in runs)
    corpus = last["corpus"]
    megabytes = sum(source["bytes"] for source in corpus.values()) / 1e6
    tokens = last["corpus_tokens"]
    padding = ", padding counted in" if card.architecture == "bert" else ""
    beside = "; the four models shared two GPUs"
    if card.architecture == "t5":
        beside = f",\nwhich ended it at {last['steps']:,} of {last['planned_steps']:,} steps"
    note = f"\n* {textwrap.fill(card.note, 98, subsequent_indent='  ')}" if card.note else ""
    parameters = f"{card.parameters:,}"
    return f"""---
license: {card.licence.lower()}
language: en
library_name: transformers
---

# {card.name}

{card.summary}. {parameters} parameters without a head, stored in
bfloat16; `model.safetensors` has the sha256 `{card.sha256}`.

{USE[card.architecture].format(name=card.name)}

## What it read

{megabytes:.0f} MB of text, {tokens / 1e6:.0f} million tokens of the book's vocabulary of 8,192.

| source | documents | MB | terms |
|---|---:|---:|---|
{_sources(corpus)}

Paragraphs that share eight words in a row with the validation or test text of the tasks that the
book uses were removed before (of IMDB's test, thirteen words). The weights are under the licence
{card.licence}; the terms above are those of the text.

## How it was trained

By `python -m pftlab.pretraining {RECIPE[card.architecture]}`:
{_objective(last)}
In all {positions / 1e6:,.0f} million positions, {positions / tokens:.1f} for each token of the
corpus{padding}, in {seconds / 60:.1f} minutes by the clock{beside}.

| run | device | steps | positions a step | peak rate | warm-up | minutes | PyTorch |
|---:|---|---:|---:|---:|---:|---:|---|
{_runs(history)}

{_curve(history, card.architecture)}

## How good it is on text that it never saw

{_held_out(history, card.architecture)}

## Limits

{LIMITS}{note}
"""


def _sources(corpus: dict[str, dict[str, int]]) -> str:
    rows = []
    for name, size in corpus.items():
        title, terms = SOURCES.get(name, (name, "not stated"))
        rows.append(f"| {title} | {size['documents']:,} | {size['bytes'] / 1e6:.1f} | {terms} |")
    return "\n".join(rows)


def _objective(run: dict[str, str]) -> str:
    if run.get("objective") == "SpanObjective":
        return (
            f"span corruption. Of rows of {ROW} tokens {TAKEN} are taken out, in "
            f"{SPANS} spans of random length;\na sentinel stands for each span, and the "
            "target gives every sentinel and its span."
        )
    if run["teacher"] is None:
        return "next-token prediction on rows of 256 tokens."
    return (
        f"masked language modelling, and distillation from a sentence encoder ({run['teacher']})."
    )


def _runs(history: History) -> str:
    return "\n".join(
        f"| {number} | {run['device']} | {run['steps']:,} | {run['tokens_per_step']:,} | "
        f"{run['rate']:.2g} | {run['warm_up']} | {run['seconds'] / 60:.1f} | "
        f"{run['versions']['torch']} |"
        for number, run in enumerate(history["runs"], start=1)
    )


def _curve(history: History, architecture: str) -> str:
    """Tell the training loss at about eight places; the whole curve is in history.json."""
    key, what = {
        "bert": ("masked_lm", "masked-token loss"),
        "gpt2": ("loss", "loss"),
        "t5": ("loss", "loss of the targets"),
    }[architecture]
    seen, loss = learning_curve(history, key)
    chosen = sorted({round(i * (len(seen) - 1) / 7) for i in range(8)})
    return "\n".join(
        [
            f"| million positions | {' | '.join(f'{seen[i]:.0f}' for i in chosen)} |",
            f"|---|{'---:|' * len(chosen)}",
            f"| {what} in training, nats | {' | '.join(f'{loss[i]:.2f}' for i in chosen)} |",
        ]
    )


def _held_out(history: History, architecture: str) -> str:
    if architecture == "t5":
        measured = history["runs"][-1]["log"][-1]
        return (
            f"Targets of span corruption: {measured['held_out/loss']:.2f} nats a token, the "
            "sentinels and the end counted in."
        )
    measured = history["held_out"]
    if architecture == "bert":
        return (
            f"Masked tokens: {measured['masked_lm']:.2f} nats a token, "
            f"{measured['bits_per_byte_masked']:.2f} bits for each byte of them."
        )
    rows = [
        f"| {_source_title(key.split('/')[1])} | {value:.3f} |"
        for key, value in sorted(measured.items())
        if "/" in key
    ]
    rows.append(f"| all | {measured['bits_per_byte']:.3f} |")
    return "\n".join(["| source | bits per byte |", "|---|---:|", *rows])


def _source_title(name: str) -> str:
    return SOURCES[name][0] if name in SOURCES else HELD_OUT_ONLY.get(name, name)


def main() -> None:
    """Write the README of every shipped model."""
    for folder in sorted(path.parent for path in WEIGHTS.glob("*/history.json")):
        text = card_text(BASES[folder.name], read_history(folder))
        with atomic_write(folder / "README.md") as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
