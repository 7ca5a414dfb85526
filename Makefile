# Everything runs in .venv, which each target makes when it is missing. `make help` lists the targets.

# PYTHON makes .venv where uv is not installed; an installed uv finds a fitting Python itself.
PYTHON ?= python3
BIN := .venv/bin
BUILD := $(CURDIR)/build

# Nothing is read from or written to the user's own Jupyter, IPython and matplotlib folders.
export JUPYTER_CONFIG_DIR := $(BUILD)/jupyter/config
export JUPYTER_DATA_DIR := $(BUILD)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(BUILD)/jupyter/runtime
export JUPYTERLAB_SETTINGS_DIR := $(BUILD)/jupyter/lab/settings
export JUPYTERLAB_WORKSPACES_DIR := $(BUILD)/jupyter/lab/workspaces
export JUPYTER_PREFER_ENV_PATH := 1
export IPYTHONDIR := $(BUILD)/ipython
export MPLCONFIGDIR := $(BUILD)/matplotlib

# Each of many processes would compile the tests again if none kept what it has compiled.
export PYTHONDONTWRITEBYTECODE :=

# Where notebooks write their files. Absolute, because a kernel starts in its notebook's folder.
export LLMFLOW_NB_OUT := $(BUILD)

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint types unit without-dot notebooks outputs docs browser coverage bench format pictures wheel wheel-check lock clean system-deps all .venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

# Checked and made absolute, because the notebook runs in its own folder.
DOCS ?= $(LLMFLOW_NB_DOCS)
override DOCS := $(patsubst ~/%,$(HOME)/%,$(DOCS))
DOCS_ENV = $(if $(DOCS),LLMFLOW_NB_DOCS="$$(realpath "$(DOCS)")")
# As root, in a container for example, Jupyter wants to be told that this is meant.
ROOT_FLAG = $(if $(filter 0,$(shell id -u)),--allow-root)

quickstart: .venv build ## run the first notebook; DOCS=path: on your own texts; LAB=1: then open it in JupyterLab
	@test -z "$(DOCS)" || test -e "$(DOCS)" || { echo 'DOCS: there is no $(DOCS)'; exit 1; }
	@rm -f build/quickstart.*
	@$(DOCS_ENV) $(BIN)/python notebooks/quickstart.py build 2>build/quickstart.log || { \
		grep -v '^ *$$' build/quickstart.log | tail -n 1 | sed 's/\x1b\[[0-9;]*m//g'; \
		echo "The notebook stopped with that; all it said is in build/quickstart.log"; exit 1; }
	@echo
	@test -n "$$OPENAI_API_KEY$$OPENAI_BASE_URL" || echo "No model was asked: an offline summariser stood in for one." \
		"Set OPENAI_API_KEY or OPENAI_BASE_URL to ask one."
	@echo "The notebook with its results: build/quickstart.html"
ifdef LAB
	$(DOCS_ENV) $(BIN)/jupyter lab $(ROOT_FLAG) notebooks/quickstart.ipynb
endif

# What runs in one process goes first, side by side. The unit tests take all cores by themselves, and some of them
# measure time. The tests in the browser often wait for it, so the notebooks are run beside them.
test: .venv build ## run every check: lint, types, docs, tests, notebooks, browser
	@$(MAKE) --no-print-directory --jobs=2 docs types lint without-dot
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory --jobs=2 browser notebooks

lint: .venv ## check style and formatting with ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv ## check types with mypy
	$(BIN)/mypy

# Tests and saved notebooks use stand-in models and sample texts, whatever the caller's environment holds.
unit without-dot notebooks outputs docs browser coverage: export OPENAI_API_KEY =
unit without-dot notebooks outputs docs browser coverage: export OPENAI_BASE_URL =
unit without-dot notebooks outputs docs browser coverage: export LLMFLOW_NB_DOCS =
# Reading a notebook takes 2 s less for each process; see there.
unit notebooks docs browser coverage: export PYTHONPATH := $(CURDIR)/tests/without$(if $(PYTHONPATH),:$(PYTHONPATH))
# What is saved holds no times, and nothing that moves.
notebooks outputs docs: export LLMFLOW_NB_DISPLAY = static
notebooks outputs: export LLMFLOW_NB_OUT =
# Each worker of the notebook with a cluster would import Dask by itself, which takes 2 s.
notebooks: export DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD = forkserver

# One test process for each core; `make unit WORKERS=0` runs the tests in pytest's own process. The cells of a notebook must
# run in one process, in order: hence --dist=loadfile there.
WORKERS ?= logical
PYTEST := $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

# The plugin that runs notebooks takes seconds to import, in every process.
NO_NOTEBOOKS := -p no:nbval

unit: .venv build ## run the unit tests, also the long ones
	$(PYTEST) $(NO_NOTEBOOKS) --ignore=tests/browser -m "kills or not kills"

# These look for the program; all other tests of drawing and display say what draws.
DRAWING := $(addprefix tests/,graph/test_render.py graph/test_svg.py graph/test_writers.py notebook/test_stepper_view.py)

without-dot: .venv build ## run the tests that look for the dot program with an empty PATH: there is none
	PATH=$(BUILD) $(BIN)/python -m pytest $(NO_NOTEBOOKS) -p no:cacheprovider $(DRAWING) -k 'not wasi and not process'

notebooks: .venv build ## run the notebooks and compare with their saved outputs
	$(PYTEST) --dist=loadfile -p no:cacheprovider --nbval --nbval-current-env \
		--nbval-sanitize-with notebooks/nbval.cfg --nbval-cell-timeout=120 notebooks/*.ipynb

outputs: .venv build ## run the notebooks and keep their new outputs
	$(BIN)/jupyter nbconvert --log-level=WARN --to notebook --execute --inplace \
		--ExecutePreprocessor.kernel_name=python3 --ExecutePreprocessor.store_widget_state=False \
		--ExecutePreprocessor.record_timing=False --KernelManager.transport_encryption=auto \
		--ClearMetadataPreprocessor.enabled=True --ClearMetadataPreprocessor.clear_cell_metadata=False \
		--ClearMetadataPreprocessor.preserve_nb_metadata_mask="{'kernelspec', ('language_info', 'name')}" notebooks/*.ipynb

# A warning is an error, and so is a code cell that fails.
docs: .venv build ## build the documentation into build/docs, running its code
	@$(BIN)/sphinx-build --jobs=2 --fail-on-warning --keep-going --quiet --fresh-env docs build/docs \
		2>build/docs.log || { cat build/docs.log; exit 1; }
	@echo "The documentation: build/docs/index.html"

browser: .venv build ## run the tests in a real JupyterLab; needs chromium, and npm for some of them
	$(BIN)/python tests/browser/npm.py
	$(PYTEST) $(NO_NOTEBOOKS) tests/browser

pictures: .venv build ## take the pictures of the README anew; needs chromium
	LLMFLOW_NB_README_PICTURES=docs/pictures $(BIN)/python -m pytest tests/browser/test_pictures.py

coverage: .venv build ## run the unit tests and show the lines that none of them reaches
	$(PYTEST) $(NO_NOTEBOOKS) --ignore=tests/browser --cov

bench: .venv ## run the benchmarks
	$(BIN)/python -m benchmarks

format: .venv ## format the code and repair what ruff can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: .venv ## build the wheel into build/dist
	rm -rf build/dist
	$(BIN)/hatchling build -t wheel -d build/dist

# As a stranger has it: the newest of all that the package asks for, in an environment of its own.
wheel-check: wheel ## install the wheel with each extra in an empty environment, and run the quickstart from there
	rm -rf build/stranger
	$(BIN)/python -m venv build/stranger/env
	build/stranger/env/bin/pip install --quiet --disable-pip-version-check $$(echo build/dist/*.whl) && \
		cd build/stranger && env/bin/python -c "import llmflow_nb; print(llmflow_nb.Flow(llmflow_nb.Node()).graph().svg()[:4])"
	for extra in openai dask offline parquet; do \
		build/stranger/env/bin/pip install --quiet --disable-pip-version-check "$$(echo build/dist/*.whl)[$$extra]" || exit 1; \
	done
	build/stranger/env/bin/pip install --quiet --disable-pip-version-check ipykernel matplotlib nbconvert
	build/stranger/env/bin/pip check
	cp notebooks/quickstart.ipynb build/stranger
	cd build/stranger && LLMFLOW_NB_OUT=out PATH="$$PWD/env/bin:$$PATH" env/bin/jupyter nbconvert --log-level=WARN --execute \
		--to html --ExecutePreprocessor.kernel_name=python3 --KernelManager.transport_encryption=auto quickstart.ipynb && \
		head -n 2 out/quickstart.csv

all: test quickstart bench wheel ## run everything

build: # for everything that is made on the way
	@mkdir -p $@

.venv: .venv/stamp ## make .venv from requirements.lock

# uv installs the lock in seconds, pip in minutes. Where uv is missing, pip first installs the uv of the lock into .venv:
# the pip that Python has, or a new one in .venv, which takes 5 seconds longer.
# uv does not read the configuration of pip, so it is told which index pip uses.
define install_with_uv
	uv=$$(command -v uv) && "$$uv" venv --quiet --allow-existing .venv || { \
		uv=$(BIN)/uv && $(PYTHON) -c '$(OLD_PYTHON)' 2>/dev/null && \
		{ $(PYTHON) -m venv --without-pip .venv && $(UV_OF_LOCK) | $(PYTHON) -m pip --python $(BIN)/python $(INSTALL) \
			--require-hashes -r /dev/stdin 2>/dev/null || \
		{ $(PYTHON) -m venv .venv && $(UV_OF_LOCK) | $(PIP_INSTALL) --require-hashes -r /dev/stdin; }; }; } && \
	index=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PYTHON) -m pip config get global.index-url 2>/dev/null || true)}} && \
	{ test -z "$$index" || export UV_DEFAULT_INDEX="$$index"; } && \
	"$$uv" pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock && \
	"$$uv" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
endef

# The lock is complete, so pip must not look for more: it would find a newer version of a package that is named with an
# extra, and miss its hash.
INSTALL = install --quiet --disable-pip-version-check --no-deps
PIP_INSTALL = $(BIN)/python -m pip $(INSTALL)
UV_OF_LOCK = sed -n '/^uv==/,/[^\\]$$/p' requirements.lock
OLD_PYTHON = import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")
define install_with_pip
	$(PYTHON) -c '$(OLD_PYTHON)' && \
	echo 'uv did not install requirements.lock; pip does now, which takes minutes.' && \
	$(PYTHON) -m venv --clear .venv && \
	$(PIP_INSTALL) --require-hashes -r requirements.lock && \
	$(PIP_INSTALL) --no-build-isolation -e .
endef

# Python compiles a package when it is first imported. The ones that take long are compiled beside what comes next.
FIRST_IMPORTS = import IPython, pandas, ipykernel.kernelapp, sklearn.feature_extraction.text, matplotlib.pyplot

# The package itself is installed editable, with the build back end that is in the lock.
.venv/stamp: requirements.lock pyproject.toml
	@{ $(install_with_uv); } || { $(install_with_pip); }
	@touch $@
	@$(BIN)/python -c "$(FIRST_IMPORTS)" >/dev/null 2>&1 &

lock: .venv ## write requirements.lock again from pyproject.toml, with the newest of everything
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --generate-hashes \
		--no-header --no-annotate --quiet -o requirements.lock

system-deps: ## install the programs that pip cannot (Debian, as root)
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends graphviz chromium

clean: ## remove .venv and everything generated
	rm -rf .venv build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find llmflow_nb tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
