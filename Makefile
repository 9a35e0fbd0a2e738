# PFT Lab. `make` alone says what there is. Windows: the same commands in plain words are in
# CONTRIBUTING.md.
PYTHON ?= python3
VENV_PYTHON = .venv/bin/python

.PHONY: help env book lab test test-quick lint notebooks clean

help:
	@echo "make book        make the environment, build the book, say where it is"
	@echo "make lab         open the book's notebooks in JupyterLab"
	@echo "make test        make the environment, run everything that CI runs"
	@echo "make test-quick  lint, types and unit tests only"
	@echo "make notebooks   run all notebooks anew and store their outputs"
	@echo "make lint        style and types only"
	@echo "make clean       remove what was built; the environment stays"
	@echo "Another Python:  make PYTHON=python3.12 book"

env:
	@$(PYTHON) tools/setup_env.py book

book: env
	@echo "Building the book …"
	@$(VENV_PYTHON) -m jupyter_book build . -W -n --keep-going -q
	@echo "The book is in _build/html. Open it with:"
	@echo "    $(PYTHON) -m webbrowser -t file://$(CURDIR)/_build/html/index.html"

lab: env
	@$(VENV_PYTHON) -m jupyterlab --notebook-dir=book

test:
	@$(PYTHON) tools/setup_env.py test
	@$(VENV_PYTHON) tools/verify.py

test-quick:
	@$(PYTHON) tools/setup_env.py test
	@$(VENV_PYTHON) tools/verify.py quick

lint:
	@$(PYTHON) tools/setup_env.py test
	@$(VENV_PYTHON) tools/verify.py lint types

notebooks:
	@$(PYTHON) tools/setup_env.py test
	@$(VENV_PYTHON) tools/notebooks.py run book

clean:
	rm -rf _build
