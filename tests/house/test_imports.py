"""Imports run one way, and `import pftlab` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pftlab.facts import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pftlab"
ORDER = [
    {"facts", "scores"},
    {"core"},
    set(FAMILIES),
    {"exchange"},
    {"registry"},
    {"bases", "tasks"},
    {"training"},
    {"experiments", "pretraining", "testing", "deployment"},
    {"book"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
CORE_MAY = {"torch", "transformers", "safetensors", "lazy_loader"}  # the last imports nothing


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(absolute name of the imported module, line), wherever in the file it is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    here = parts if path.name == "__init__.py" else parts[:-1]
    here = tuple(p for p in here if p != "__init__")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            if module == "pftlab":
                for alias in node.names:
                    yield f"pftlab.{alias.name}", node.lineno
            else:
                yield module, node.lineno


def room(module: str) -> str | None:
    """ "pftlab.core.sites" → "core"."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pftlab" and len(parts) > 1 else None


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    mine = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert mine in LEVEL, f"{mine} has no place in the order of imports"
    for module, line in imports(path):
        other = room(module)
        if other is None or other == mine or other not in LEVEL:
            continue
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if mine == "others" and other in FAMILIES:
            continue  # hybrids compose the families
        assert LEVEL[other] < LEVEL[mine] or {mine, other} == {"bases", "tasks"}, where


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda p: p.name)
def test_core_imports_little(path: Path) -> None:
    for module, line in imports(path):
        top = module.split(".")[0]
        fine = (
            top in CORE_MAY or top in sys.stdlib_module_names or room(module) in ("core", "facts")
        )
        assert fine, f"{path.name}:{line} imports {module}"


def test_importing_the_package_is_light() -> None:
    heavy = "torch", "transformers", "datasets", "matplotlib", "numpy", "accelerate"
    code = f"import pftlab, sys; print([m for m in {heavy!r} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stdout + output.stderr


def test_the_library_never_touches_the_machinery_of_the_book() -> None:
    rooms = [name for names in ORDER for name in sorted(names) if name not in ("book", "cli")]
    code = "import sys, pftlab, importlib\nfor room in sys.argv[1:]: "
    code += "importlib.import_module(f'pftlab.{room}')\n"
    code += "print([m for m in sys.modules if m.startswith('pftlab.book')])"
    output = subprocess.run(
        [sys.executable, "-c", code, *rooms], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import pftlab

    for name in pftlab.__all__:
        assert getattr(pftlab, name) is not None, name
