# Each target does all of its own set-up; a machine needs only Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Threads that spin while they wait make a shared core several times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install demo vae-demo test lint conformance clean

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchaudio setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	@if ! $(BIN)/python -c "import torchaudio" 2>/dev/null && \
	    $(BIN)/python -c "import sys, torch; sys.exit(torch.version.cuda is not None)"; then \
	    echo "torchaudio's optional native library needs CUDA and this torch has none: removing it from $(VENV)"; \
	    rm -f $(VENV)/lib/python3*/site-packages/torchaudio/lib/*.so; \
	fi
	$(BIN)/python -c "import torchaudio, transformers"
	@touch $@

demo: install
	$(BIN)/python -m melspec_gpt.training.run_demo --output_dir outputs/demo

vae-demo: install
	$(BIN)/python -m melspec_gpt.training.run_vae_demo

test: install
	$(BIN)/python -m pytest tests

# Transformers' own common tests over our classes; see tests/conformance/README.md.
conformance: install
	$(BIN)/python tests/conformance/run.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) .cache outputs build dist *.egg-info .pytest_cache .ruff_cache
