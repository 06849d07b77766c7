# make demo            separate a song that the project rendered itself
# make demo SONG=path  separate a song of yours
# make test            run every test
# make bench           measure, beside the peers, and write docs/benchmarks.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := openunmix==1.3.0 demucs==4.1.0 asteroid==0.7.0 asteroid-filterbanks==0.4.0 \
  bs-roformer==0.4.1 rotary-embedding-torch==0.6.5 audio-separator==0.47.1

# What the peers ask for besides, where whole programs of theirs run.
BENCH := librosa==0.11.0 audioread==3.1.0 cloudpickle==3.1.3 decorator==5.3.1 joblib==1.6.0 \
  lazy_loader==0.6 llvmlite==0.50.0 msgpack==1.2.4 numba==0.68.1 pooch==1.9.0 absl-py==2.5.1 \
  ml_collections==1.1.0 pydub==0.25.1 six==1.17.0 sphn==0.2.1 lameenc==1.9.0 \
  "audioop-lts==0.2.2;python_version>='3.13'" "standard-aifc==3.13.0;python_version>='3.13'" \
  "standard-chunk==3.13.0;python_version>='3.13'" "standard-sunau==3.13.0;python_version>='3.13'"

# A path may hold spaces, quotes, parentheses and dollar signs. $(value) takes it as it was typed,
# and the environment carries it to the shell, which never parses it.
export DEMO_SONG := $(value SONG)
unexport SONG
MAKEOVERRIDES :=

.PHONY: setup demo test lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit("desmezcla needs Python 3.10 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@# What tests and benchmarks compare with. They ask for torchaudio and more, which is not needed.
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps $(PEERS)
	@touch $@

demo: setup
	@set -e; \
	$(BIN)/desmezcla separate -o demo/separated -- "$${DEMO_SONG:-examples/demo-song.ogg}"; \
	echo "The stems are in demo/separated"

# A test seldom keeps more than one core busy. Several run at a time, with one thread each: threads
# of programs that run side by side get in each other's way.
test: setup
	@jobs=$$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() or 1))'); \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n "$$jobs" --dist loadfile --durations=25

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps $(BENCH)
	$(BIN)/python benchmarks/page.py

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
