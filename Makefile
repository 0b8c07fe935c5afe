# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint format docs bench faults real clean

demo: .venv/installed
	$(BIN)/lorapar demo --run-dir lorapar-demo

# A worker for each core, up to eight of them: each loads torch. A file's tests share their fixtures.
test: .venv/installed
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

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
	$(BIN)/python -m tests.grading.case_table --update
	$(BIN)/python -m evidence page

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

clean:
	rm -rf .venv build dist *.egg-info
