# Two commands do everything on a new machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo docs links test test-milvus test-cluster check lint size bench bench-index bench-service bench-phase bench-simulate bench-sardine bench-peers records reliability faults fuzz format lock sbom pin-images test-lowest

# The add-ons of this repository, which the checks and the tests need too.
ADD_ONS := packages/lab packages/milvus packages/pgvector packages/spark

# Without a GPU, PyTorch's CPU build is several GB smaller: make TORCH_INDEX=URL, of its index.
TORCH_INDEX ?=
TORCH := $(shell grep -o 'torch>=[0-9.]*' pyproject.toml)

# The stamp follows pyproject.toml, so a changed dependency is installed and nothing else is.
$(STAMP): pyproject.toml $(ADD_ONS:%=%/pyproject.toml)
	@echo 'installs into .venv, in minutes: 6 GB; with the CPU build of PyTorch 1.5 GB (docs/install.md)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --no-deps --index-url '$(TORCH_INDEX)' '$(TORCH)')
	$(BIN)/python -m pip install --quiet --editable '.[train,report,study,serve,client,redis,docs,dev]' --editable ./packages/lab --editable ./packages/pgvector
	@# What these ask for is in .venv-milvus and .venv-cluster, for the tests that need it.
	$(BIN)/python -m pip install --quiet --no-deps --editable ./packages/milvus --editable ./packages/spark
	@# axe-core, which judges pages in the browser tests; the driver that the package asks for is not needed.
	$(BIN)/python -m pip install --quiet --no-deps 'axe-playwright-python>=0.1.8'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/multitudes demo --overwrite

# The documentation as a site, in site/VERSION; a broken link, a missing anchor, a page outside the navigation or a notebook
# that fails is an error. Folders of other versions stay, and each page leads to them.
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/multitudes/__init__.py)
docs: $(STAMP)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs 2 --conf-dir docs --doctree-dir site/.doctrees . site/$(VERSION)

# Every address outside of the site; not in CI, which has no network.
links: $(STAMP)
	$(BIN)/sphinx-build --quiet --builder linkcheck --conf-dir docs --doctree-dir site/.doctrees . site/.links

# A process for each of two cores: the tests take minutes of one, and a third gains nothing. A file's tests share fixtures
# that train and publish, so a file stays in one process. TEST_WORKERS=0: in one process, as `pytest FILE` alone is.
# ARGS="-k …": some of them.
TEST_WORKERS ?= 2

test: $(STAMP)
	$(BIN)/python -m pytest --ignore tests/cluster --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The tests against a real Milvus server, which they start and stop, in an environment of their own. Where the server's
# package is not to be had, they are skipped with the reason.
MILVUS := .venv-milvus/.installed

$(MILVUS): pyproject.toml packages/milvus/pyproject.toml tests/milvus/requirements.txt
	$(PYTHON) -m venv .venv-milvus
	.venv-milvus/bin/python -m pip install --quiet --upgrade pip
	.venv-milvus/bin/python -m pip install --quiet --editable '.[data]' --editable ./packages/milvus hypothesis pytest
	@if .venv-milvus/bin/python -m pip install --quiet --requirement tests/milvus/requirements.txt; then touch $@; fi

test-milvus: $(MILVUS)
	OMP_NUM_THREADS=1 .venv-milvus/bin/python -m pytest -rs tests/milvus

# Several ranks; and Spark, started and stopped by the tests, in an environment of its own: it needs a Java, and half a
# gigabyte. ARGS="-k …": some of them.
CLUSTER := .venv-cluster/.installed

$(CLUSTER): pyproject.toml packages/spark/pyproject.toml
	$(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --quiet --upgrade pip
	.venv-cluster/bin/python -m pip install --quiet --editable . --editable ./packages/spark hypothesis pytest
	@touch $@

RANKS = tests/cluster/test_train.py tests/cluster/test_hosts.py  # which need torch, and no Spark
test-cluster: $(STAMP) $(CLUSTER)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs $(ARGS) $(RANKS)
	OMP_NUM_THREADS=1 .venv-cluster/bin/python -m pytest -rs $(ARGS) tests/cluster $(RANKS:%=--ignore %)

# The lowest versions that pyproject.toml allows, in an environment of their own: 3 GB of torch, so before a release and not
# in CI. Every module is imported; then the demo, a publish, what opens a release, the service and its stores.
LOWEST := .venv-lowest/.installed
TESTS_LOWEST := tests/cli/test_demo.py tests/publishing/test_publish.py tests/release tests/state tests/evaluation/test_verb.py \
	tests/service/test_auth.py tests/service/test_explorer_routes.py tests/service/test_recommend_routes.py tests/service/test_startup.py

$(LOWEST): pyproject.toml $(ADD_ONS:%=%/pyproject.toml) tests/lowest/constraints.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --editable '.[all]' $(ADD_ONS:%=--editable ./%) --constraint tests/lowest/constraints.txt hypothesis pytest
	@touch $@

# What newer versions of others deprecate is no error here.
test-lowest: $(LOWEST)
	.venv-lowest/bin/python -m tests.lowest.import_modules
	.venv-lowest/bin/python -m pytest -W default::DeprecationWarning $(ARGS) $(TESTS_LOWEST)

check: lint
	$(BIN)/python -m pytest tests/test_docstrings.py

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell *.md docs records src packages reference benchmarks reliability examples deploy

# How large the project is: lines, words, settings, commands, imports.
size: $(STAMP)
	$(BIN)/python -m reference.size

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.train $(ARGS)
	$(BIN)/python -m benchmarks.page

# The index at scale, part by part; what is done is not done again. ARGS="--items 100000 …": see --help.
bench-index: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.index $(ARGS)
	$(BIN)/python -m benchmarks.index.page

# The service with 1 M items, twelve vectors for each user beside one, in turn. ARGS="--items 100000 …": see --help.
bench-service: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.service $(ARGS)
	$(BIN)/python -m benchmarks.service.page

# When several vectors pay, in planted worlds beside real sets; ten minutes of one core. What is measured is kept.
bench-phase: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.phase $(ARGS)
	$(BIN)/python -m benchmarks.phase.page

# The simulated world beside public data sets, and its speed. ARGS="--data FOLDER …": see --help.
bench-simulate: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.simulate $(ARGS)
	$(BIN)/python -m benchmarks.simulate.page records/simulated-world.md

# The simulated world beside a simulator by others, in an environment of its own.
SARDINE := .venv-sardine/.installed

$(SARDINE): pyproject.toml packages/lab/pyproject.toml benchmarks/simulate/sardine-requirements.txt
	$(PYTHON) -m venv .venv-sardine
	.venv-sardine/bin/python -m pip install --quiet --editable '.[data]' --editable ./packages/lab --requirement benchmarks/simulate/sardine-requirements.txt
	@touch $@

bench-sardine: $(SARDINE)
	OMP_NUM_THREADS=1 .venv-sardine/bin/python -m benchmarks.simulate.sardine $(ARGS)
	$(BIN)/python -m benchmarks.simulate.page records/simulated-world.md

# Other libraries, each trained until validation stops rising, in an environment of their own: hours. What is finished is
# not repeated. PREPARED="DIR …": prepared folders.
PEERS := .venv-peers/.installed

$(PEERS): benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	@touch $(PEERS)

bench-peers: $(STAMP) $(PEERS)
	$(BIN)/python -m benchmarks.peers $(PREPARED) $(ARGS)
	$(BIN)/python -m benchmarks.peers.page

# Every page of records/ again, and the tables of docs/results.md, from kept results alone: after a change of how they are shown.
records: $(STAMP)
	$(BIN)/python -m benchmarks.study_pages
	$(BIN)/python -m benchmarks.peers.page
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m benchmarks.service.page
	$(BIN)/python -m benchmarks.index.page
	$(BIN)/python -m benchmarks.scale.page records/scale.md
	$(BIN)/python -m benchmarks.phase.page
	$(BIN)/python -m benchmarks.linear page
	$(BIN)/python -m benchmarks.simulate.page records/simulated-world.md
	$(BIN)/python -m benchmarks.simulate.orderings_page
	$(BIN)/python -m reliability.page

# What holds when things go wrong, in an environment of its own; what is done at a scale is not done again.
# ARGS="--scale 0.1 overload": see --help.
RELIABILITY := .venv-reliability/.installed

$(RELIABILITY): pyproject.toml
	$(PYTHON) -m venv .venv-reliability
	.venv-reliability/bin/python -m pip install --quiet --editable '.[data,serve,client,redis,sign,reliability]'
	@touch $@

reliability: $(RELIABILITY)
	.venv-reliability/bin/python -m reliability $(ARGS)
	.venv-reliability/bin/python -m reliability.page

# Each dependency slow, full, gone or wrong, as root; what is not here is left out with the reason. ARGS="Redis …": some.
faults: $(RELIABILITY)
	.venv-reliability/bin/python -m pip install --quiet --editable '.[dev]' --editable ./packages/milvus mfusepy
	-.venv-reliability/bin/python -m pip install --quiet --requirement tests/milvus/requirements.txt
	.venv-reliability/bin/python -m reliability.faults $(ARGS)

# Ten minutes of changed inputs, others each time, as each night; what fails joins reliability/corpus.
fuzz: $(RELIABILITY)
	.venv-reliability/bin/python -m reliability fuzz --again --seconds 600 --out .venv-reliability/fuzz.json

# The packages of the images in deploy/, with hashes, as of today: for Python 3.12, any platform. Needs the network.
# A release of PinnerSage is served with SciPy, which the other ones do not load; pymilvus is of packages/milvus.
LOCK := uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-annotate --upgrade

lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	echo scipy | .venv-lock/bin/$(LOCK) pyproject.toml - --extra serve --extra redis --extra sign \
		--output-file deploy/requirements-serve.txt
	echo 'pymilvus>=2.6,<4' | .venv-lock/bin/$(LOCK) pyproject.toml - --extra train --extra sign \
		--output-file deploy/requirements-train.txt
	echo 'hatchling>=1.27' | .venv-lock/bin/$(LOCK) - --output-file deploy/requirements-build.txt

# What is in the images, as CycloneDX, from the lock files.
sbom: $(STAMP)
	$(BIN)/python deploy/sbom.py serve > sbom-serve.json
	$(BIN)/python deploy/sbom.py train > sbom-train.json

# The images of others by their digests, in deploy/cluster/.env. Needs a registry, and skopeo or docker.
pin-images:
	$(PYTHON) deploy/pin_images.py
