# Each target installs what it needs. A new machine needs only Python 3.11 or newer, and make.

PYTHON ?= python3
PYTHON_NEXT ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13) python3.13)
BIN = .venv/bin
# See .venv-node/installed.
WITH_NODE = PATH="$(CURDIR)/.venv-node/bin:$$PATH"
# Run two tests at a time; tests of one class run in the same process.
TWO_AT_A_TIME = --numprocesses 2 --dist loadscope

.PHONY: run test test-next lint openapi openapi-lint clients fuzz faults mutants real bench lock real-lock sbom

run: .venv/installed ## serve on 127.0.0.1:$PORT with a demo organization, until Ctrl-C
	@$(BIN)/python -m rivergen.local.run --end-with-parent

test: .venv/installed-dev ## run the tests
	$(BIN)/pytest $(TWO_AT_A_TIME)

test-next: .venv-next/installed-dev ## run the tests on Python 3.13 with Django 6.1
	.venv-next/bin/pytest $(TWO_AT_A_TIME)

clients: .venv/installed-dev tests/clients/node_modules/.package-lock.json ## generate clients from the OpenAPI document, check their types, and drive them
	@$(WITH_NODE) $(BIN)/python -m tests.clients

fuzz: .venv/installed-dev ## send generated requests to a running server, valid and invalid ones
	$(BIN)/python -m tests.fuzz

faults: .venv/installed-dev ## break the database, network, locks, disks and processes under load, and count lost changes
	$(BIN)/python -m tests.faults

mutants: .venv/installed-mutants ## change the code in 300 small ways, and list the changes that no test notices
	@$(BIN)/python -m tests.mutants

real: .venv/installed-dev .venv-node/installed ## read schemas and files that others wrote, and compare with the sources' own words
	@SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') && \
	ENCRYPTION_KEYS=$$($(BIN)/python manage.py generate_key) && \
	export SECRET_KEY ENCRYPTION_KEYS && \
	$(WITH_NODE) $(BIN)/python -m tests.real $(ONLY)

bench: .venv/installed-dev ## measure the cost of a request, compared with plain DRF and FastAPI services
	$(BIN)/python -m bench $(if $(BEFORE),--before $(BEFORE))

lint: .venv/installed-dev ## run all checks of CI except the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') && \
	ENCRYPTION_KEYS=$$($(BIN)/python manage.py generate_key) && \
	export SECRET_KEY ENCRYPTION_KEYS && \
	$(BIN)/mypy && \
	$(BIN)/python manage.py check --deploy --fail-level WARNING && \
	$(BIN)/python manage.py makemigrations --check

openapi: .venv/installed-dev ## write docs/openapi.json again, and print whether that breaks clients
	@SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') && \
	ENCRYPTION_KEYS=$$($(BIN)/python manage.py generate_key) && \
	export SECRET_KEY ENCRYPTION_KEYS && \
	DJANGO_SETTINGS_MODULE=rivergen.settings $(BIN)/python -m tests.openapi

openapi-lint: .venv/installed-dev tests/clients/node_modules/.package-lock.json ## lint openapi.json with Redocly and Spectral (Node 20)
	@$(WITH_NODE) $(BIN)/pytest tests/openapi/linters.py

sbom: .venv-sbom/installed .venv/installed-dev ## write sbom.json: the packages of requirements.lock, in CycloneDX
	$(BIN)/cyclonedx-py environment --output-reproducible --gather-license-texts \
	    --output-file sbom.json .venv-sbom/bin/python

# Only wheels: building a source distribution would download tools that are in no lock.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --only-binary :all: \
    --emit-build-options --custom-compile-command 'make lock'

lock: .venv/bin/uv ## write the *.lock files again after requirements*.txt changed; keep all other versions
	grep -v '^-r' requirements.txt | $(COMPILE) --python-version 3.11 - -o requirements.lock
	$(COMPILE) --python-version 3.11 -c requirements.lock requirements-cloud.txt -o requirements-cloud.lock
	$(COMPILE) --python-version 3.11 -c requirements.lock requirements-dev.txt -o requirements-dev.lock
	$(COMPILE) --python-version 3.11 -c requirements-dev.lock requirements-mutants.txt -o requirements-mutants.lock
	$(COMPILE) --python-version 3.13 requirements-next.txt -o requirements-next.lock
	$(COMPILE) --python-version 3.11 requirements-node.txt -o requirements-node.lock
	$(COMPILE) --python-version 3.11 requirements-uv.txt -o requirements-uv.lock

real-lock: .venv/installed-dev ## write tests/real/packages/*.lock again; keep all versions that still fit
	$(BIN)/python -m tests.real.locking

# $(call install,BIN,LOCK): uv is five times as fast as pip, but does not read pip's settings
# (a private index, a certificate). If uv fails, pip installs the packages. Both refuse a file whose
# hash is not in the lock.
define install
	@$(1)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock && \
	$(1)/uv pip install --python $(1)/python --require-hashes -r $(2) || \
	$(1)/pip install --no-compile --disable-pip-version-check --require-hashes -r $(2)
endef

# Not .venv/installed: `make lock` must work while the locks are incomplete.
.venv/bin/uv:
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock

.venv/installed: requirements.lock requirements-uv.lock
	@echo "Installing Python packages into .venv (once): 160 MB to download, about 15 seconds."
	@$(PYTHON) -m venv .venv
	$(call install,$(BIN),requirements.lock)
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	$(call install,$(BIN),requirements-dev.lock)
	@touch $@

.venv/installed-mutants: .venv/installed-dev requirements-mutants.lock
	$(call install,$(BIN),requirements-mutants.lock)
	@touch $@

.venv-next/installed-dev: requirements-dev.lock requirements-next.lock requirements-uv.lock
	$(PYTHON_NEXT) -m venv .venv-next
	$(call install,.venv-next/bin,requirements-dev.lock)
	$(call install,.venv-next/bin,requirements-next.lock)
	@touch $@

.venv-sbom/installed: requirements.lock .venv/installed
	@$(PYTHON) -m venv --without-pip .venv-sbom
	@$(BIN)/uv pip install --python .venv-sbom/bin/python --require-hashes -r requirements.lock
	@touch $@

# Empty if PATH has npm and Node.js 20 or newer.
.venv-node/installed: requirements-node.lock .venv/installed
	@rm -rf .venv-node && mkdir .venv-node
	@{ node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' && npm --version; } > /dev/null 2>&1 || { \
	    echo "Installing Node.js into .venv-node (once): PATH lacks npm, or Node.js 20 or newer." && \
	    $(PYTHON) -m venv --without-pip .venv-node && \
	    $(BIN)/uv pip install --quiet --python .venv-node/bin/python --require-hashes -r requirements-node.lock; }
	@touch $@

# npm writes this file last.
tests/clients/node_modules/.package-lock.json: tests/clients/package-lock.json .venv-node/installed
	@$(WITH_NODE) npm ci --prefix tests/clients --loglevel error --prefer-offline
	@touch $@
