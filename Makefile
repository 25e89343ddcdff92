# make lab        JupyterLab on the first notebook           make test       everything CI runs
# make check      verify every strategy on this machine      make notebooks  run the notebooks, store their outputs
# make soak       the long randomised runs (minutes)         make format     lay the code out as CI wants it
# make site       the notebooks as web pages in build/site: nothing is executed, any static host serves them
# make clean      remove caches and build outputs; the environment in .venv stays
#
# The environment is made on first use. PYTHON picks its interpreter, 3.11 or newer: make test PYTHON=python3.12
# On Linux without a GPU, PyTorch's CPU wheels save several GB: let PIP_EXTRA_INDEX_URL name their index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAB_ARGS ?= --no-browser
LAB_COPY ?= $(CURDIR)/.lab
NO_NEWS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}
PYTEST_ARGS ?=
CODE := nsa_core tests $(wildcard notebooks/*.py notebooks/site/*.py)

# Where this is set, nothing is cached and every test run compiles every package again.
unexport PYTHONDONTWRITEBYTECODE

# matplotlib's font list is built at installation: built later, its notice would land in the first notebook's output.
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib

.PHONY: lab test check soak notebooks site format clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[notebooks,test,site]' -c constraints.txt
	$(BIN)/python -c 'import matplotlib.font_manager'
	mkdir -p $(VENV)/share/jupyter/lab/settings
	echo '$(NO_NEWS)' > $(VENV)/share/jupyter/lab/settings/overrides.json
	touch $@

# A copy of the notebooks, made once: reading and running them leaves the repository as it is. Remove .lab for a new one.
# On the loopback interface, with the server's own token, serving that copy only. Root has to say that it is root.
lab: $(STAMP)
	test -d "$(LAB_COPY)" || cp -R notebooks "$(LAB_COPY)"
	$(BIN)/python -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir="$(LAB_COPY)" \
		--LabApp.default_url=/lab/tree/00_start_here.ipynb $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS)

# Layout and lint; then two processes, a file at a time: the cells of a notebook stay together and in order; then
# JupyterLab in Chromium. Without a Chromium on the PATH the last are skipped and say so (Debian: apt-get install chromium).
test: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m browser -rs tests/browser

check: $(STAMP)
	$(BIN)/python -m nsa_core check

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak tests

format: $(STAMP)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

notebooks: $(STAMP)
	$(BIN)/python notebooks/refresh.py
	$(BIN)/python notebooks/figures.py

site: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -E -d build/site-cache -c notebooks/site notebooks build/site
	@echo 'build/site/index.html is the first page'

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find nsa_core notebooks tests -depth -type d '(' -name __pycache__ -o -name .ipynb_checkpoints ')' -exec rm -rf '{}' ';'
