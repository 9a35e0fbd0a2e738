"""Words that the book does not use and its readers look for: they find the pages of the same thing.

The index is completed before Sphinx writes it. British and American endings need no entry here.
"""

from sphinx.application import Sphinx
from sphinx.search import IndexBuilder

#: what a reader may type → words of the book, of which a page must have all in one of the groups
SYNONYMS = {
    "catastrophic": ["forgetting", "forgets", "forgot"],
    "overfitting": ["overfits", "memorises", "dropout", "weight decay"],
    "overfit": ["overfits", "memorises", "dropout", "weight decay"],
    "finetuning": ["fine tuning"],
    "finetune": ["fine tuning"],
    "hyperparameter": ["hyper parameter"],
    "hyperparameters": ["hyper parameters"],
    "peft": ["parameter efficient"],
    "additive": ["adapter", "prompt"],
    "selective": ["sparse"],
    "reparameterization": ["low rank"],
    "reparametrization": ["low rank"],
    "quantized": ["four bits"],
    "bnb": ["nf4"],
    "bitsandbytes": ["nf4"],
    "vram": ["memory"],
    "softprompt": ["soft prompt"],
    "llm": ["language model"],
    "llms": ["language model"],
    "regularization": ["weight decay", "dropout"],
}


def setup(app: Sphinx) -> None:
    app.connect("html-collect-pages", complete)


def complete(app: Sphinx) -> list[tuple[str, dict[str, str], str]]:
    index = getattr(app.builder, "indexer", None)
    if app.builder.name == "html" and isinstance(index, IndexBuilder):
        for places in (index._mapping, index._title_mapping):
            add_synonyms(index.lang.stem, places)
    return []  # no pages


def add_synonyms(stem: "type[str] | object", places: dict[str, set[str]]) -> None:
    """Let each synonym be found where its words are, and "-ize" where "-ise" is.

    Args:
        stem: word → what the index has of it.
        places: of the index, stem → pages.
    """
    assert callable(stem)
    for typed, groups in SYNONYMS.items():
        for group in groups:
            pages = [places.get(stem(word), set()) for word in group.split()]
            found = set.intersection(*map(set, pages))
            if found:
                places.setdefault(stem(typed), set()).update(found)
    for word in list(places):
        if len(word) > 5 and word.endswith(("is", "iz")):
            other = word[:-1] + ("z" if word.endswith("s") else "s")
            both = places[word] | places.get(other, set())
            places[word], places[other] = set(both), set(both)
