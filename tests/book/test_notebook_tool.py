"""The notebook tool finds each fault that would make a stored notebook untrustworthy."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

ALT = "A line that rises from the left to the right."
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def image():
    return new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})


def stored(path, cells, seconds=15, widgets=None):
    """Store the cells as if they had been run."""
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type == "code":
            cell.execution_count = number
    notebook = new_notebook(cells=cells)
    if widgets:
        notebook.metadata["widgets"] = {tool.WIDGET_STATE: {"state": widgets}}
    tool.store(path, notebook, seconds)
    return path


def edit(path, change):
    """Change a stored notebook as a text editor would: nothing else in it changes."""
    notebook = tool.read(path)
    change(notebook)
    tool.write(path, notebook)


def printed(text, name="stdout"):
    return new_code_cell("f()", outputs=[new_output("stream", name=name, text=text)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "page.ipynb"


def test_a_sound_notebook_passes(path):
    figure = new_code_cell(
        "plt.show()", outputs=[image()], metadata={"mystnb": {"image": {"alt": ALT}}}
    )
    assert tool.check(stored(path, [printed("True\n"), figure, new_markdown_cell("Text.")])) == []


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (printed("careful\n", name="stderr"), "writes on stderr"),
        (printed("UserWarning: old\n"), "shows a warning"),
        (printed("saved in /home/somebody/out\n"), "path of this machine"),
        (printed("saved in C:\\Users\n"), "path of this machine"),
        (printed("<object at 0x7f0012ab34cd>\n"), "memory address"),
        (new_code_cell("plt.show()"), "none is stored"),
        (new_code_cell("f()", metadata={"mystnb": {"image": {"alt": ALT}}}), "none is stored"),
        (new_code_cell("f()", outputs=[image()]), "without alternative text"),
        (new_code_cell("f()", outputs=[image(), image()]), "2 figures"),
        (new_code_cell("a = 1\n" * 30 + "b = 2"), "31 lines"),
        (new_code_cell("!pip install x"), "installs packages"),
        (new_code_cell(" "), "is empty"),
        (new_code_cell("f()", metadata={"tags": ["raises-exception"]}), "raises nothing"),
        (
            new_code_cell("f()", outputs=[new_output("error", ename="E", evalue="no")]),
            "fails: E: no",
        ),
        (
            new_code_cell("x", metadata={"tags": ["lib:pftlab.low_rank.lora.LowRank"]}),
            "differs from the library",
        ),
    ],
)
def test_each_fault_in_a_code_cell_is_found(path, cell, fault):
    problems = tool.check(stored(path, [cell]))
    assert any(fault in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("![](a.svg)", "no alternative text"),
        ('<img src="a.svg" alt="A picture">', "no alternative text"),
        (f"![{ALT}](nowhere.svg)", "does not exist"),
        (f"![{ALT}](https://example.org/a.svg)", "is remote"),
    ],
)
def test_each_fault_in_a_picture_is_found(path, source, fault):
    (path.parent / "a.svg").write_text("<svg/>")
    assert any(
        fault in problem for problem in tool.check(stored(path, [new_markdown_cell(source)]))
    )


def test_a_notebook_that_was_never_run_is_found(path):
    tool.write(path, tool.normalise(new_notebook(cells=[new_code_cell("f()")])))
    assert any("never run" in problem for problem in tool.check(path))


def test_an_edit_after_the_run_is_found(path):
    stored(path, [printed("1\n")])
    notebook = tool.read(path)
    notebook.cells[0].source = "g()"
    tool.write(path, notebook)
    assert any("edited after the run" in problem for problem in tool.check(path))


def set_text(notebook):
    notebook.cells[0].outputs[0].text = "91.3 %\n"


def set_image(notebook):
    notebook.cells[1].outputs[0].data["image/png"] = PIXEL.replace("AAAA", "AAAB", 1)


def drop_output(notebook):
    notebook.cells[0].outputs = []


def drop_image(notebook):
    del notebook.cells[1].outputs[0].data["image/png"]


def set_state(notebook):
    notebook.metadata.widgets[tool.WIDGET_STATE]["state"]["0" * 31 + "1"]["state"]["value"] = 9


def stale_state(notebook):
    state = notebook.metadata.widgets[tool.WIDGET_STATE]["state"]
    state["f" * 32] = {"model_name": "TextModel", "state": {}}


def drop_state(notebook):
    del notebook.metadata["widgets"]


def forget_run(notebook):
    del notebook.metadata["pftlab"]


def forget_outputs(notebook):
    del notebook.metadata["pftlab"]["outputs_sha256"]


def own_metadata(notebook):
    notebook.metadata["kernelspec"]["name"] = "mine"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (set_text, "not those of the run"),
        (set_image, "not those of the run"),
        (drop_output, "not those of the run"),
        (drop_image, "not those of the run"),
        (drop_image, "none is stored"),
        (set_state, "not those of the run"),
        (stale_state, "not in normal form"),
        (drop_state, "no stored state"),
        (forget_run, "never run"),
        (forget_outputs, "not those of the run"),
        (own_metadata, "not in normal form"),
    ],
)
def test_each_edit_of_a_stored_notebook_is_found(path, change, fault):
    figure = new_code_cell(
        "plt.show()", outputs=[image()], metadata={"mystnb": {"image": {"alt": ALT}}}
    )
    view = new_output("display_data", {tool.WIDGET_VIEW: {"model_id": "a" * 32}})
    slider = {"a" * 32: {"model_name": "IntSliderModel", "state": {"value": 1}}}
    stored(path, [printed("1\n"), figure, new_code_cell("w", outputs=[view])], widgets=slider)
    assert tool.check(path) == []
    edit(path, change)
    assert any(fault in problem for problem in tool.check(path)), tool.check(path)


def test_a_widget_with_a_part_without_state_is_found(path):
    view = new_output("display_data", {tool.WIDGET_VIEW: {"model_id": "a" * 32}})
    box = {"a" * 32: {"model_name": "BoxModel", "state": {"children": ["IPY_MODEL_" + "b" * 32]}}}
    problems = tool.check(stored(path, [new_code_cell("w", outputs=[view])], widgets=box))
    assert any("a part without stored state" in problem for problem in problems)


def test_cells_run_out_of_order_are_found(path):
    stored(path, [printed("1\n"), printed("2\n")])
    notebook = tool.read(path)
    notebook.cells[0].execution_count = 7
    tool.write(path, notebook)
    assert any("in order" in problem for problem in tool.check(path))


def test_a_notebook_over_the_budget_is_found(path):
    problems = tool.check(stored(path, [printed("1\n")], seconds=tool.NOTEBOOK_SECONDS + 15))
    assert any("the budget is" in problem for problem in problems)


def test_a_widget_without_state_is_found(path):
    view = new_output("display_data", {tool.WIDGET_VIEW: {"model_id": "a" * 32}})
    assert any(
        "no stored state" in p
        for p in tool.check(stored(path, [new_code_cell("w", outputs=[view])]))
    )


def test_other_bytes_than_the_normal_form_are_found(path):
    stored(path, [printed("1\n")])
    path.write_text(path.read_text() + "\n")
    assert any("normal form" in problem for problem in tool.check(path))


def test_the_normal_form_keeps_no_traces_of_a_run():
    error = new_output("error", ename="E", evalue="no", traceback=["File /home/me/x.py", "E: no"])
    chunks = [new_output("stream", name="stdout", text=text) for text in ("one\n", "two\n")]
    cell = new_code_cell(
        "f()  \n", outputs=[*chunks, error], metadata={"execution": {"begin": "now"}}
    )
    notebook = new_notebook(
        cells=[cell, new_code_cell("g()", id=cell.id)], metadata={"editor": "x"}
    )
    tool.normalise(notebook)
    first, second = notebook.cells
    assert first.outputs[0].text == "one\ntwo\n"
    assert first.outputs[1].traceback == ["E: no"]
    assert first.metadata == {} and first.source == "f()"
    assert first.id != second.id
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_widget_ids_do_not_depend_on_the_run():
    def with_ids(shown, inner, stray):
        entry = {"model_name": "BoxModel", "state": {"children": [f"IPY_MODEL_{inner}"]}}
        plain = {"model_name": "TextModel", "state": {}}
        view = new_output("display_data", {tool.WIDGET_VIEW: {"model_id": shown}})
        notebook = new_notebook(cells=[new_code_cell("w", outputs=[view], id="w")])
        state = {stray: plain, inner: plain, shown: entry}
        notebook.metadata["widgets"] = {tool.WIDGET_STATE: {"state": state}}
        return tool.text_of(tool.normalise(notebook))

    text = with_ids("a" * 32, "b" * 32, "c" * 32)
    assert text == with_ids("9" * 32, "5" * 32, "7" * 32)
    assert "c" * 32 not in text


def test_library_cells_follow_the_library(path):
    from pftlab.low_rank import lora

    cells = [
        new_code_cell("old", metadata={"tags": ["lib:pftlab.low_rank.lora.LowRank"]}),
        new_code_cell("old", metadata={"tags": ["lib-brief:pftlab.low_rank.lora.LoRA"]}),
    ]
    tool.write(path, tool.normalise(new_notebook(cells=cells)))
    assert tool.sync(path) and not tool.sync(path)
    whole, brief = (cell.source for cell in tool.read(path).cells)
    assert whole in Path(lora.__file__).read_text()
    assert '"""' in whole and '"""' not in brief and brief.startswith("@dataclass")


def test_a_tag_that_points_to_nothing_is_an_error():
    with pytest.raises(SystemExit, match="points to nothing"):
        tool.library_source("lib:pftlab.low_rank.lora.NoSuchThing")


def test_recorded_time_changes_only_when_the_time_did():
    assert tool.bracket(20.0, None) == 30
    assert tool.bracket(29.0, 30) == 30 and tool.bracket(11.0, 30) == 30
    assert tool.bracket(31.0, 30) == 45 and tool.bracket(9.0, 30) == 15


def test_two_runs_give_the_same_bytes(path):
    cells = [
        new_code_cell("print(1)"),
        new_code_cell("import random\nprint(hash('x') % 7)"),
        new_code_cell(
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
            metadata={"mystnb": {"image": {"alt": ALT}}},
        ),
        new_code_cell(
            "import ipywidgets as w\na, b = w.IntSlider(1), w.IntProgress()\n"
            "w.jslink((a, 'value'), (b, 'value'))\nw.HBox([a, b])"
        ),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    tool.run(path)
    first = path.read_bytes()
    tool.run(path)
    assert path.read_bytes() == first
    assert tool.check(path) == []


def test_a_run_leaves_no_state_of_widgets_that_are_gone(path):
    notebook = new_notebook(cells=[new_code_cell("import ipywidgets as w\nw.IntSlider(1)")])
    nbformat.write(notebook, path)
    tool.run(path)
    assert "widgets" in tool.read(path).metadata
    edit(path, lambda notebook: notebook.cells[0].update(source="print(1)"))
    tool.run(path)
    assert "widgets" not in tool.read(path).metadata
    assert tool.check(path) == []
