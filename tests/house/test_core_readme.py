"""The README of the core: what it links to is there, under the name that it gives."""

import ast
import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "pftlab" / "core" / "README.md"
LINK = re.compile(r"\[(`?)([^\]`]+)\1\]\(([^)]+)\)")


def names(file: Path) -> set[str]:
    """What a module defines: `name`, and `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_links_resolve() -> None:
    links = LINK.findall(README.read_text(encoding="utf-8"))
    assert len(links) > 40
    for code, name, target in links:
        place = README.parent / target
        assert place.exists(), f"{name} links to {target}, which is not there"
        if code:
            assert name in names(place), f"{target} defines no {name}"


def test_every_port_has_its_row() -> None:
    text = README.read_text(encoding="utf-8")
    rooms = {path.stem for path in (README.parent / "ports").glob("[a-z]*.py")}
    assert rooms == set(re.findall(r"^\| \[(\w+)\]", text, re.MULTILINE))


def test_lora_points_to_it() -> None:
    lora = README.parents[1] / "low_rank" / "lora.py"
    assert "core/README.md" in (ast.get_docstring(ast.parse(lora.read_text("utf-8"))) or "")
