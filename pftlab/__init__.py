"""PFT Lab: parameter-efficient fine-tuning, from scratch.

    import pftlab as pft

    model = pft.load_base("minilm", num_labels=2)
    pft.LoRA(rank=8).attach(model)
    run = pft.train(model, pft.load_task("reviews"), steps=200)
    pft.save(model, "out/")

What there is by name stands in `__init__.pyi`, where editors and type checkers read it too. Each
name is imported when first used, so that importing this package is quick: torch and transformers
take seconds.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
