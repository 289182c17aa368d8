# The two commands to begin with: `make study` and `make test`. Python 3.11 and make are all they need.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable
EYES := sample-eyes

QUICK := $(addprefix tests/,data datasets trials measure/test_scores.py measure/test_comparison.py measure/test_calibration.py \
	test_architecture.py test_config.py test_files.py test_provenance.py test_settings.py test_signals.py \
	space/test_source.py display cli/test_app.py)

.PHONY: help study test quick faults layouts lint docs bench bench-check wheel audit images clean

help:  ## Say what there is to make.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

study: .venv/installed  ## Set up, draw sample eyes, search with two workers, register, fine-tune, test. Some minutes.
	test -d $(EYES) || $(BIN)/drsearch synthesize $(EYES) --images 320 --seed 1
	$(BIN)/drsearch run-study search_spaces/sample.py --data $(EYES) --config small.gin --workers 2

test: .venv/installed-test  ## Set up with the test extra, and pass the tests.
	$(BIN)/python -m compileall -q drsearch  # hundreds of processes are started beside each other
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

quick: lint  ## Lint, types, and the tests that need no training, server or browser. A minute.
	$(BIN)/python -m pytest --numprocesses 2 $(QUICK)

faults: .venv/installed-test  ## A hundred faults in one study; faults of a Ray cluster; ten minutes of load on the service (docs/reliability.md). Half an hour.
	PYTHONPATH=tests:tests/faults $(BIN)/python tests/faults/hundred.py
	$(BIN)/python -m pytest -m slow tests/faults/test_ray.py
	$(BIN)/python tests/faults/load.py

layouts: .venv/installed-test  ## A study of two epochs on a mock-up of every layout of docs/layouts.md. Some minutes.
	$(BIN)/python -m pytest -m "slow or not slow" tests/end_to_end/test_layouts.py

lint: .venv/installed-test  ## Format, lint and type checks.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/installed-test  ## Build the documentation site; refuse broken links and public names without a docstring.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

BENCHMARKS := epoch beside_torch batches workers study tracking memory prepare large search_cost serving server scale engines demand long_study
SHORT := epoch memory

bench: .venv/installed-bench  ## Measure everything that is claimed about speed; write docs/benchmarks.md. More than an hour.
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m benchmarks.report

bench-check: .venv/installed-bench  ## Measure the short ones again; is any ratio worse than accepted?
	rm -rf build/bench
	for name in $(SHORT); do $(BIN)/python -m benchmarks.$$name --into build/bench || exit 1; done
	$(BIN)/python -m benchmarks.report check build/bench

wheel: .venv/installed-test  ## Build wheel and sdist; install the wheel into an empty environment; run a small study there. Minutes.
	rm -rf dist build/wheel
	$(BIN)/python -m hatchling build
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet --constraint constraints.txt "$$(echo $(CURDIR)/dist/drsearch-*.whl)[cpu]"
	folder=$$(mktemp -d) && cd $$folder && export PATH="$(CURDIR)/build/wheel/bin:$$PATH" && drsearch --version && drsearch spaces && \
	drsearch synthesize eyes --images 60 --seed 1 && \
	drsearch run-study sample --data eyes --config small.gin --trials 2 --set training.epochs=2 --set finetune.when=never && \
	drsearch status && rm -rf $$folder

audit: .venv/installed-test  ## Write an SBOM of the environment (build/sbom.json), and look up known vulnerabilities of the pinned versions.
	test -d build/audit || $(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --upgrade pip-audit cyclonedx-bom
	build/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file build/sbom.json $(BIN)/python
	build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip || { \
		echo "make audit: a pinned version is known to be vulnerable or, if the lines above say 'could not be audited', the database did not answer; build/sbom.json is written." >&2; exit 1; }

images: .venv/installed-test  ## Build both images, and start what docker-compose.yml starts in them (root, buildah, debootstrap). Half an hour.
	$(BIN)/python -m pytest -m slow -s tests/server/test_images.py

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("drsearch needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing drsearch and its libraries, of which TensorFlow and MLflow are large: some minutes.'
	$(PIP) '.[cpu]'
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) '.[cpu,dashboard,docs,postgresql,ray,test]'
	touch $@

.venv/installed-bench: .venv/installed-test
	$(PIP) '.[cpu,dashboard,docs,postgresql,ray,test,bench]'
	touch $@

clean:  ## Remove the environment and what `make study` left here.
	rm -rf .venv $(EYES) drsearch-home
