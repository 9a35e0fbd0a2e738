"""The notebook tool finds each fault that would make a stored notebook untrustworthy."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebooks import checks, execution, form, package, record
from notebooks.command import touched
from notebooks.nbval_rules import near

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
        notebook.metadata["widgets"] = {form.WIDGET_STATE: {"state": widgets}}
    record.store(path, notebook, seconds)
    return path


def edit(path, change):
    """Change a stored notebook as a text editor would: nothing else in it changes."""
    notebook = form.read(path)
    change(notebook)
    form.write(path, notebook)


def printed(text, name="stdout"):
    return new_code_cell("f()", outputs=[new_output("stream", name=name, text=text)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "page.ipynb"


def test_a_sound_notebook_passes(path):
    figure = new_code_cell(
        "plt.show()", outputs=[image()], metadata={"mystnb": {"image": {"alt": ALT}}}
    )
    assert checks.check(stored(path, [printed("True\n"), figure, new_markdown_cell("Text.")])) == []


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
    problems = checks.check(stored(path, [cell]))
    assert any(fault in problem for problem in problems), problems


def test_a_guess_is_kept_and_must_fit_the_output(path):
    guess = {"ask": "Which?", "choices": ["a", "b"], "answer": "a", "find": "lower"}
    cell = printed("the first is lower")
    cell.metadata.update(guess=guess, tags=["predict"])
    stored(path, [cell])
    assert checks.check(path) == [] and form.read(path).cells[0].metadata["guess"] == guess
    # asked otherwise: the run stays as good as it was
    edit(path, lambda n: n.cells[0].metadata["guess"].update(ask="Which of the two?"))
    assert checks.check(path) == []
    edit(path, lambda n: n.cells[0].metadata["guess"].update(find="higher"))
    assert "may be another now" in "".join(checks.check(path))
    cell.metadata.update(tags=[])
    assert "no tag predict" in "".join(checks.check(stored(path, [cell])))


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
        fault in problem for problem in checks.check(stored(path, [new_markdown_cell(source)]))
    )


def test_a_notebook_that_was_never_run_is_found(path):
    form.write(path, form.normalise(new_notebook(cells=[new_code_cell("f()")])))
    assert any("never run" in problem for problem in checks.check(path))


def test_an_edit_after_the_run_is_found(path):
    stored(path, [printed("1\n")])
    notebook = form.read(path)
    notebook.cells[0].source = "g()"
    form.write(path, notebook)
    assert any("edited after the run" in problem for problem in checks.check(path))


def set_text(notebook):
    notebook.cells[0].outputs[0].text = "91.3 %\n"


def set_image(notebook):
    notebook.cells[1].outputs[0].data["image/png"] = PIXEL.replace("AAAA", "AAAB", 1)


def drop_output(notebook):
    notebook.cells[0].outputs = []


def drop_image(notebook):
    del notebook.cells[1].outputs[0].data["image/png"]


def set_state(notebook):
    notebook.metadata.widgets[form.WIDGET_STATE]["state"]["0" * 31 + "1"]["state"]["value"] = 9


def stale_state(notebook):
    state = notebook.metadata.widgets[form.WIDGET_STATE]["state"]
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
    view = new_output("display_data", {form.WIDGET_VIEW: {"model_id": "a" * 32}})
    slider = {"a" * 32: {"model_name": "IntSliderModel", "state": {"value": 1}}}
    stored(path, [printed("1\n"), figure, new_code_cell("w", outputs=[view])], widgets=slider)
    assert checks.check(path) == []
    edit(path, change)
    assert any(fault in problem for problem in checks.check(path)), checks.check(path)


def test_a_widget_with_a_part_without_state_is_found(path):
    view = new_output("display_data", {form.WIDGET_VIEW: {"model_id": "a" * 32}})
    box = {"a" * 32: {"model_name": "BoxModel", "state": {"children": ["IPY_MODEL_" + "b" * 32]}}}
    problems = checks.check(stored(path, [new_code_cell("w", outputs=[view])], widgets=box))
    assert any("a part without stored state" in problem for problem in problems)


def test_cells_run_out_of_order_are_found(path):
    stored(path, [printed("1\n"), printed("2\n")])
    notebook = form.read(path)
    notebook.cells[0].execution_count = 7
    form.write(path, notebook)
    assert any("in order" in problem for problem in checks.check(path))


def test_a_notebook_over_the_budget_is_found(path):
    problems = checks.check(stored(path, [printed("1\n")], seconds=record.NOTEBOOK_SECONDS + 15))
    assert any("the budget is" in problem for problem in problems)


def test_a_widget_without_state_is_found(path):
    view = new_output("display_data", {form.WIDGET_VIEW: {"model_id": "a" * 32}})
    assert any(
        "no stored state" in p
        for p in checks.check(stored(path, [new_code_cell("w", outputs=[view])]))
    )


def test_other_bytes_than_the_normal_form_are_found(path):
    stored(path, [printed("1\n")])
    path.write_text(path.read_text() + "\n")
    assert any("normal form" in problem for problem in checks.check(path))


def test_the_normal_form_keeps_no_traces_of_a_run():
    error = new_output("error", ename="E", evalue="no", traceback=["File /home/me/x.py", "E: no"])
    chunks = [new_output("stream", name="stdout", text=text) for text in ("one\n", "two\n")]
    cell = new_code_cell(
        "f()  \n", outputs=[*chunks, error], metadata={"execution": {"begin": "now"}}
    )
    notebook = new_notebook(
        cells=[cell, new_code_cell("g()", id=cell.id)], metadata={"editor": "x"}
    )
    form.normalise(notebook)
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
        view = new_output("display_data", {form.WIDGET_VIEW: {"model_id": shown}})
        notebook = new_notebook(cells=[new_code_cell("w", outputs=[view], id="w")])
        state = {stray: plain, inner: plain, shown: entry}
        notebook.metadata["widgets"] = {form.WIDGET_STATE: {"state": state}}
        return form.text_of(form.normalise(notebook))

    text = with_ids("a" * 32, "b" * 32, "c" * 32)
    assert text == with_ids("9" * 32, "5" * 32, "7" * 32)
    assert "c" * 32 not in text


def test_library_cells_follow_the_library(path):
    from pftlab.low_rank import lora

    cells = [
        new_code_cell("old", metadata={"tags": ["lib:pftlab.low_rank.lora.LowRank"]}),
        new_code_cell("old", metadata={"tags": ["lib-brief:pftlab.low_rank.lora.LoRA"]}),
    ]
    form.write(path, form.normalise(new_notebook(cells=cells)))
    assert package.sync(path) and not package.sync(path)
    whole, brief = (cell.source for cell in form.read(path).cells)
    assert whole in Path(lora.__file__).read_text()
    assert '"""' in whole and '"""' not in brief and brief.startswith("@dataclass")


def test_a_tag_that_points_to_nothing_is_an_error():
    with pytest.raises(SystemExit, match="points to nothing"):
        package.library_source("lib:pftlab.low_rank.lora.NoSuchThing")


def test_recorded_time_changes_only_when_the_time_did():
    assert record.bracket(20.0, None) == 30
    assert record.bracket(29.0, 30) == 30 and record.bracket(11.0, 30) == 30
    assert record.bracket(31.0, 30) == 45 and record.bracket(9.0, 30) == 15


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
    execution.run(path)
    first = path.read_bytes()
    execution.run(path)
    assert path.read_bytes() == first
    assert checks.check(path) == []


def test_a_run_leaves_no_state_of_widgets_that_are_gone(path):
    notebook = new_notebook(cells=[new_code_cell("import ipywidgets as w\nw.IntSlider(1)")])
    nbformat.write(notebook, path)
    execution.run(path)
    assert "widgets" in form.read(path).metadata
    edit(path, lambda notebook: notebook.cells[0].update(source="print(1)"))
    execution.run(path)
    assert "widgets" not in form.read(path).metadata
    assert checks.check(path) == []


def test_a_run_remembers_what_it_was_made_from(path):
    cells = [
        new_code_cell("from pftlab.core import files\nprint(1)"),
        new_code_cell(f"print(len(open({str(record.ROOT / 'README.md')!r}).read()) > 9)"),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    execution.run(path)
    notebook = form.read(path)
    assert len(notebook.cells) == 2 and checks.check(path) == []
    made_from = notebook.metadata["pftlab"]["made_from"]
    assert {"pftlab/core/files.py", "README.md", "requirements.txt"} <= made_from.keys()
    assert not any(name.startswith((".venv", "/")) for name in made_from)
    assert "pftlab/low_rank/lora.py" not in made_from
    assert record.changed_since(notebook) == [] == touched([path])


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise there")
@pytest.mark.parametrize("command", ["touched", "check"])
def test_a_closed_pipe_is_no_error(path, command):
    form.write(path, new_notebook(cells=[printed("1\n")]))
    tool = f"{sys.executable} {Path(checks.__file__).parent} {command} {path}"
    done = subprocess.run(f"{tool} | true", shell=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("change", ["other", "gone", "no record"])
def test_a_change_touches_the_notebooks_made_from_it(path, tmp_path, monkeypatch, change):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "requirements.txt").write_text("torch")
    source = tmp_path / "lora.py"
    source.write_text("rank = 8")
    record.store(path, new_notebook(cells=[printed("1\n")]), 15, [source])
    assert touched([path]) == []
    if change == "other":
        source.write_text("rank = 9")
    elif change == "gone":
        source.unlink()
    else:
        edit(path, forget_run)
    expected = ["everything"] if change == "no record" else ["lora.py"]
    assert record.changed_since(form.read(path)) == expected
    assert touched([path]) == [path]


def test_a_list_of_chapters_or_names_touches_no_notebook(path, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "requirements.txt").write_text("torch")
    lists = [tmp_path / "pftlab/book/exercises/catalogue.py", tmp_path / "names.pyi"]
    lists[0].parent.mkdir(parents=True)
    for file in lists:
        file.write_text("one")
    record.store(path, new_notebook(cells=[printed("1\n")]), 15, lists)
    for file in lists:
        file.write_text("one, two")
    assert touched([path]) == []


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("accuracy 84.2 %", "accuracy 84.3 %", True),
        ("accuracy 84.2 %", "accuracy 84.4 %", False),
        ("accuracy 84.2 %", "accuracy 84.2", False),
        ("loss 0.6931", "loss 0.6932", True),
        ("loss 123.456", "loss 123.50", True),
        ("294,912 parameters", "294,913 parameters", False),
        ("difference 1.2e-07", "difference 4.0e-07", True),
        ("difference 1.2e-07", "difference 1.2e-02", False),
        ("difference 1.2e-07", "difference 0.0e+00", False),
        ("True", "False", False),
        ("lora   9.9", "lora  10.0", True),
        ("1.0 2.0", "1.0", False),
        ("−3.1 points", "−3.2 points", True),
        ("-3.1 points", "3.1 points", False),
    ],
)
def test_nearly_the_same(one, two, same):
    assert near(one, two) is same


def test_a_tolerance_is_for_decimals_alone():
    assert near("seeds 90.3 83.3; 4 texts", "seeds 89.7 84.5; 4 texts", tolerance=2)
    assert not near("seeds 90.3 83.3; 4 texts", "seeds 87.7 83.3; 4 texts", tolerance=2)
    assert not near("seeds 90.3 83.3; 4 texts", "seeds 90.3 83.3; 5 texts", tolerance=2)


def test_nbval_takes_what_is_near_and_nothing_else(tmp_path):
    def drawing(text):
        kinds = {"image/svg+xml": text, "text/plain": "<IPython.core.display.SVG object>"}
        return new_code_cell(outputs=[new_output("display_data", kinds)])

    def outcome(shown, limit="60", tags=(), source="print('loss', 0.69314)"):
        page = tmp_path / "page.ipynb"
        stored(page, [printed(shown) if isinstance(shown, str) else shown])
        changes = {"source": source, "metadata": {"tags": list(tags)}}
        edit(page, lambda notebook: notebook.cells[0].update(changes))
        rules = f"import notebooks.execution as e; e.CELL_SECONDS = {limit}"
        code = (
            f"import sys; sys.path[:0] = [{str(record.ROOT / 'tools')!r}]; {rules}; import pytest;"
            "sys.exit(pytest.main(['-q', '-p', 'notebooks.nbval_rules', '-p', 'no:cacheprovider',"
            f"'--nbval', '--nbval-current-env', {str(page)!r}]))"
        )
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert outcome("loss 0.69315\n").returncode == 0
    assert outcome("loss 0.70315\n").returncode == 1
    assert outcome("loss 0.70315\n", tags=["tolerance-0.1"]).returncode == 0
    drawn = "from IPython.display import SVG, display\ndisplay(SVG('<svg>{}</svg>'))"
    assert outcome(drawing("one"), source=drawn.format("two")).returncode == 0
    assert outcome("loss 0.69315\n", source=drawn.format("two")).returncode == 1
    slow = outcome("loss 0.69315\n", limit="-1")
    assert slow.returncode == 1 and "of processor time" in slow.stdout
