# Two commands matter: `make lab` to work through the course, `make test` to check all of it.
PYTHON ?= $(if $(filter Windows_NT,$(OS)),python,python3)
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python

.PHONY: help lab test slow notebooks slides promote clean place
help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

lab: .venv/ready ## set up, copy the notebooks you have not started into my_notebooks/, open JupyterLab on 00
	@$(PY) -m tinylm lab $(ARGS)

test: .venv/ready ## set up, then ruff, the unit tests, and every notebook that has changed (all of them: make test ALL=1)
	@echo "Checking style with ruff" && $(PY) -m ruff check . && $(PY) -m ruff format --check .
	@echo "Running the unit tests and the notebooks, two at a time (some minutes)" && \
	  $(PY) -m pytest -n 2 -m "not slow" $(if $(ALL),--all-notebooks)

slow: .venv/ready ## what make test leaves out: kills, several processes, faults, whole notebooks on their solutions
	@$(PY) -m pytest tests -n 2 -m slow

notebooks: .venv/ready ## for authors: run every notebook in place, in order, and store its outputs
	@$(PY) -m tests.authoring.execute

slides: .venv/ready ## for teachers: a lecture of each notebook as one HTML file, in slides/; needs no network
	@$(PY) -m tests.authoring.slides $(NAMES)

promote: .venv/ready ## for authors: keep the record of RUN=name (as NAME=name) in data/runs, write the tables of data/RESULTS.md
	@$(PY) -m tests.authoring.promote $(RUN) $(if $(NAME),--name $(NAME))

clean: ## remove .venv, but nothing you have written
	rm -rf .venv

# .venv/ready is written last, so an interrupted set-up begins again, and changed pins are installed. It holds the
# place of the clone, which .venv names in its scripts and for the editable tinylm: in a copy, another clone's code
# would be imported.
NEEDED := import sys; v = sys.version_info; v >= (3, 11) or sys.exit('tinylm needs Python 3.11 or newer and this is \
%d.%d: say for example make lab PYTHON=python3.12' % v[:2])
.venv/ready: requirements.txt | place
	@test -e $@ || $(PYTHON) -c "$(NEEDED)"
	@echo "Setting up .venv: some minutes, 2 GB of disk (4 on Linux with CUDA). If it stops, the same command begins again"
	@test -e $@ || $(PYTHON) -m venv --clear .venv
	@rm -f $@
# pip unpacks gigabytes, and the system's folder for temporary files is often small
	@TMPDIR="$(CURDIR)/.venv" TEMP="$(CURDIR)/.venv" TMP="$(CURDIR)/.venv" \
	  $(PY) -m pip install --disable-pip-version-check --no-input -r requirements.txt
	@echo "$(CURDIR)" > $@

place:
	@test ! -e .venv/ready || test "$$(head -n 1 .venv/ready)" = "$(CURDIR)" || { \
	  echo "This clone was moved or copied from $$(head -n 1 .venv/ready): set it up again with make clean lab"; exit 1; }
