"""Method files are short enough to be read in one sitting."""

import ast
import inspect
import io
import statistics
import tokenize
from pathlib import Path

from pftlab.facts import FACTS
from pftlab.registry import METHODS

PACKAGE = Path(__file__).resolve().parents[2] / "pftlab"
MODULES = {row.place.partition(":")[0] for row in FACTS.values()}


def lines_of_code(path: Path) -> int:
    """Lines with code on them: no blank lines, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            documentation |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - documentation)


def test_every_method_file_has_its_test_file() -> None:
    for module in MODULES:
        family, _, method = module.partition(".")
        assert (PACKAGE.parent / "tests" / family / f"test_{method}.py").is_file(), module


def test_method_files_are_short() -> None:
    files = {f"{module.replace('.', '/')}.py" for module in MODULES}
    length = {file: lines_of_code(PACKAGE / file) for file in files}
    assert statistics.median(length.values()) <= 80, length
    assert max(length.values()) <= 200, length


PAGE = 35  # lines of the library that a cell of the book shows
LONGER = {  # class → why
    "adalora": "its twelve hyper-parameters and what they mean fill the page alone",
    "diff_pruning": "parameters of two learning rates, and a penalty that ends before training does",
    "galore": "its relation to the method that it is named after takes twelve lines to say",
    "loreft": "an edit needs the text's mask, and its words are counted from both ends",
    "lokr": "one line, of a table of hyper-parameters",
    "mam": "it constructs two other methods, and says which setting of the first is which",
    "p_tuning": "a template is made of words as well: a second way to construct it",
    "prompt_tuning": "it starts from words or from labels: two more ways to construct it",
    "qlora": "it plants twice: four bits in the place of a weight, and the update beside it",
}


def test_a_method_fits_on_a_page_of_the_book() -> None:
    length = {name: len(inspect.getsource(cls).splitlines()) for name, cls in METHODS.items()}
    assert {name for name, lines in length.items() if lines > PAGE} == LONGER.keys(), length
    assert max(length.values()) <= 85, length
