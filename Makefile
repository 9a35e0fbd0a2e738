# PFT Lab. `make` alone says what there is. Windows: CONTRIBUTING.md has the same in plain commands.
PYTHON = python3
VENV = .venv/bin

help:
	@echo "make book        make the environment, build the book, say where it is"
	@echo "make epub        make the environment, build the book as an EPUB"
	@echo "make lab         make the environment, open the notebooks in JupyterLab"
	@echo "make test        make the environment, run everything that keeps the project right"
	@echo "make test-full   the same and all that grows with the book: some hours"
	@echo "make test-quick  style, types and tests: no notebooks, no book"
	@echo "make lint        style and types only"
	@echo "make notebooks   run all notebooks anew and store their outputs"
	@echo "make env         make the environment only"
	@echo "make clean       remove what was built; the environment stays"
	@echo "Another Python:  make PYTHON=python3.12 book"

env:
	@$(PYTHON) tools/setup_env.py book

env-test:
	@$(PYTHON) tools/setup_env.py test

book: env
	@echo "Building the book"
	@$(VENV)/python tools/verify.py book
	@echo "The book is in _build/html. To open it:"
	@echo "    $(PYTHON) -m webbrowser file://$$(pwd)/_build/html/index.html"

epub: env-test
	@$(VENV)/python tools/epub.py

lab: env
	@$(VENV)/python -m jupyterlab --notebook-dir=book

test: env-test
	@$(VENV)/python tools/verify.py

test-full: env-test
	@$(VENV)/python tools/verify.py full

test-quick: env-test
	@$(VENV)/python tools/verify.py quick

lint: env-test
	@$(VENV)/python tools/verify.py lint types

notebooks: env-test
	@$(VENV)/python tools/notebooks run book

clean:
	rm -rf _build .mypy_cache .ruff_cache

.PHONY: help env env-test book epub lab test test-full test-quick lint notebooks clean
