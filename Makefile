# Two commands for a newcomer: `make demo` and `make test`. Each makes the environment first, where it is missing.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint docs clean

demo: $(READY)
	$(VENV)/bin/emoicl demo

# Each of the processes imports everything and holds models of its own: no more than four.
test: $(READY)
	$(VENV)/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

# Into build/site; a warning is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
