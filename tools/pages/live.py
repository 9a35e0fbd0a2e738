"""What the page that trains a model loads when its reader asks for it: scripts beside the page.

    program     the code, TensorFlow.js with it, as a text that the page gives to a worker
    kernels     TensorFlow.js's kernels for WebAssembly
    weights     the base: model.safetensors of the package, byte for byte
    language    its tokenizer: tokens, merges, and how texts are cut
    reviews     the task: training texts, and held-out ones of other words

and, with the page itself, what its form offers.

Everything is a script and nothing is fetched, so that the page works when it was opened as a file:
there a page may load no other data, and start no worker from an address.
"""

import base64
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from pftlab.bases.cards import WEIGHTS
from pftlab.registry import facts_of
from pftlab.tasks import load_task

PAGE = "book/live/train"
BASE = WEIGHTS / "tiny-encoder"
STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
TENSORFLOW = STATIC / "vendor" / "tensorflow"
LIBRARY = ("tf-core.es2017.min.js", "tf-backend-wasm.es2017.min.js")
KERNELS = "tfjs-backend-wasm-simd.wasm"
#: One behind the other, they are the program: there is no bundler.
MODULES = (
    "engine", "tokenizer", "random", "weights", "operations", "encoder", "methods", "optimiser",
    "training", "changes",
)  # fmt: skip
WORKER = "worker"
LORA_SITES = (
    "attention.query", "attention.key", "attention.value", "attention.output", "ffn.up", "ffn.down",
)  # fmt: skip
#: Good learning rates of this base, for a run of 60 steps.
RATES = {
    "lora": 5e-3, "linear_probe": 2e-2, "bitfit": 1e-2, "ia3": 2e-2, "houlsby": 5e-3,
    "prompt_tuning": 5e-2, "full": 5e-4,
}  # fmt: skip
HELD_OUT = 200  # texts; as many of either class


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", load)
    app.connect("build-finished", write)


def load(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the page its script and its look."""
    if page == PAGE and app.builder.name == "html":
        for name in ("parts/choices", "charts", "page"):
            app.add_js_file(f"live/{name}.js", loading_method="defer")
        app.add_css_file("live/live.css")


def write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html" or PAGE not in app.env.found_docs:
        return
    folder = Path(app.outdir) / "_static" / "live" / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    whole = parts()
    whole["choices"] = choices(sum(len(written(*part).encode()) for part in whole.items()))
    for name, content in whole.items():
        (folder / f"{name}.js").write_text(written(name, content), encoding="utf-8")


def written(name: str, content: Any) -> str:
    """The script that leaves `content` to the page."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"(globalThis.pftLive??={{}}).{name}={text};\n"


def parts() -> dict[str, Any]:
    """What each of the scripts holds."""
    return {
        "program": program(*MODULES, WORKER),
        "kernels": base64.b64encode((TENSORFLOW / KERNELS).read_bytes()).decode(),
        "weights": base64.b64encode((BASE / "model.safetensors").read_bytes()).decode(),
        "language": language(),
        "reviews": reviews(),
    }


def program(*modules: str) -> str:
    """The library and these modules of ours."""
    files = [TENSORFLOW / name for name in LIBRARY]
    files += [STATIC / "live" / f"{name}.js" for name in modules]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def language() -> dict[str, Any]:
    """What tokenizer.json says, without what only decoding needs."""
    whole = json.loads((BASE / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary, merges = whole["model"]["vocab"], whole["model"]["merges"]
    (capitals,) = (
        step["pattern"]["Regex"] for step in whole["normalizer"]["normalizers"]
        if "Regex" in step.get("pattern", {})
    )  # fmt: skip
    return {
        "tokens": sorted(vocabulary, key=vocabulary.get),
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
        "special": [token["content"] for token in whole["added_tokens"]],
        "capitals": capitals.removeprefix("(?=[").removesuffix("])"),
        "piece": whole["pre_tokenizer"]["pattern"]["Regex"],
    }


def reviews() -> dict[str, Any]:
    """The texts of the task: [text, label], those held out in an even mix."""
    splits = load_task("reviews").splits

    def rows(split: str) -> list[list[Any]]:
        return [[row["text"], row["label"]] for row in splits[split]]

    return {"train": rows("train"), "held_out": rows("test")[:HELD_OUT]}


def choices(size: int) -> dict[str, Any]:
    """What the form offers: the methods with their rates, LoRA's sites; and what a start loads."""
    return {
        "methods": {name: {"title": facts_of(name).title, "rate": r} for name, r in RATES.items()},
        "sites": LORA_SITES,
        "megabytes": round(size / 1e6, 1),
    }
