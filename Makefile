# Each target does its own set-up; a fresh machine needs Python 3.11 or newer, and make.

PYTHON ?= python3
PYTHON_NEXT ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13) python3.13)
BIN = .venv/bin
# Two at a time, those of a class together.
TWO_AT_A_TIME = --numprocesses 2 --dist loadscope

.PHONY: run test test-next lint fuzz faults bench

run: .venv/installed ## serve on 127.0.0.1:$PORT with a demo organization, until Ctrl-C
	@$(BIN)/python -m rivergen.local.run --end-with-parent

test: .venv/installed-dev ## run the tests
	$(BIN)/pytest $(TWO_AT_A_TIME)

test-next: .venv-next/installed-dev ## run the tests on Python 3.13 with Django 6.1
	.venv-next/bin/pytest $(TWO_AT_A_TIME)

fuzz: .venv/installed-dev ## send generated requests to a running server, valid and invalid ones
	$(BIN)/python -m tests.fuzz

faults: .venv/installed-dev ## break database, network, locks, disks and processes under load, and count what is lost
	$(BIN)/python -m tests.faults

bench: .venv/installed-dev ## measure what a request costs, beside what others would write
	$(BIN)/python -m bench $(if $(BEFORE),--before $(BEFORE))

lint: .venv/installed-dev ## what CI checks beside the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') && \
	ENCRYPTION_KEYS=$$($(BIN)/python manage.py generate_key) && \
	export SECRET_KEY ENCRYPTION_KEYS && \
	$(BIN)/mypy && \
	$(BIN)/python manage.py check --deploy --fail-level WARNING && \
	$(BIN)/python manage.py makemigrations --check

# $(call install,BIN,REQUIREMENTS): uv takes a fifth of pip's time. It does not read pip's settings
# (an index of one's own, a certificate): where it fails, pip does the work.
define install
	@$(1)/pip install --quiet --disable-pip-version-check uv==0.13.9 && \
	$(1)/uv pip install --python $(1)/python $(2) || \
	$(1)/pip install --no-compile --disable-pip-version-check $(2)
endef

.venv/installed: requirements.txt
	@echo "Installing Python packages into .venv, once: 130 MB to download, half a minute on most machines."
	@$(PYTHON) -m venv .venv
	$(call install,$(BIN),-r requirements.txt)
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(call install,$(BIN),-r requirements-dev.txt)
	@touch $@

.venv-next/installed-dev: requirements.txt requirements-dev.txt
	$(PYTHON_NEXT) -m venv .venv-next
	$(call install,.venv-next/bin,-r requirements-dev.txt)
	$(call install,.venv-next/bin,'Django>=6.1,<6.2')
	@touch $@
