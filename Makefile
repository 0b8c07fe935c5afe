# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
BIN := .venv/bin

EXTRAS := quantize,deepspeed,harness,latex,trackers,optimizers
# A worker for each core, up to eight of them: each loads torch. A file's tests share their fixtures.
PARALLEL := -n logical --maxprocesses 8 --dist loadfile

.PHONY: demo test test-slow test-extras test-all check-extras lint format docs bench faults real clean

demo: .venv/installed
	$(BIN)/lorapar demo --run-dir lorapar-demo

test: .venv/installed
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

# The tests that `make test` skips for want of an extra.
test-extras: .venv-extras/installed
	.venv-extras/bin/python -m pytest $(PARALLEL) --with-extras \
		-m "extra and not gpu and not slow and not network"

# Everything that needs neither a GPU nor the internet; takes hours.
test-all: .venv-extras/installed
	.venv-extras/bin/python -m pytest $(PARALLEL) --with-extras -m "not gpu and not network"

# An environment for each extra, with `pip check` in each; takes some GB and the package index.
check-extras: .venv/installed
	$(BIN)/python -m tests.extra_environments

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed
	$(BIN)/python docs/generate_commands.py > docs/commands.md
	$(BIN)/python docs/generate_layouts.py --update
	$(BIN)/python docs/generate_recipes.py
	$(BIN)/python docs/generate_schemas.py
	$(BIN)/python docs/generate_json.py > docs/reference/json.md
	$(BIN)/python -m tests.grading.case_table --update
	$(BIN)/python -m evidence page
	$(BIN)/python docs/build_site.py

faults: .venv/installed
	$(BIN)/python -m tests.faults

# DATA: folder of public data, laid out as evidence/real/data.py says.
real: .venv/installed
	$(BIN)/python -m evidence real --data "$(DATA)"

bench: .venv/installed
	$(BIN)/python -m benchmarks

# constraints.txt pins the set of versions that is tested; torch there is the release, whose build
# (CPU or CUDA) is the one that pip finds for this machine.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[dev]"
	touch $@

# On top of .venv, whose packages it sees, so that torch is not installed twice. vLLM is left out: it
# needs a GPU and pins a torch of its own.
.venv-extras/installed: .venv/installed
	$(PYTHON) -m venv .venv-extras
	echo "import site; site.addsitedir('$$($(BIN)/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')')" > "$$(.venv-extras/bin/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')/default-venv.pth"
	.venv-extras/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[$(EXTRAS)]"
	.venv-extras/bin/python -m pip check
	touch $@

clean:
	rm -rf .venv .venv-extras build dist site *.egg-info
