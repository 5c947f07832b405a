# Verbs only: what each does stands in the program it calls. `make help` lists them.
.DEFAULT_GOAL := help
PY := .venv/bin/python
UV_VERSION := 0.13.9

.PHONY: help install check crds golden test-fast test demo demo-down images cluster-up cluster-down bench

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "make %-13s %s\n", $$1, $$2}'

.venv/.synced: uv.lock pyproject.toml operator/pyproject.toml scoring-image/pyproject.toml
	@sh tools/install.sh $(UV_VERSION)
	@touch $@

install: .venv/.synced ## Create .venv with both packages and the tools, as uv.lock pins them

check: install ## Format, lint, types, layers, and that generated files are current
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m modeldeploy_operator.api.crd --check
	$(PY) -m tools.golden --check

crds: install ## Write crds/, the chart's copies and docs/api.md from the API types
	$(PY) -m modeldeploy_operator.api.crd --write

golden: install ## Rewrite the golden files; review their diff as the specification
	$(PY) -m tools.golden --write

test-fast: install ## What needs no cluster, without the examples, in about a minute
	.venv/bin/pytest -q -m "not cluster and not slow" -n 2 --dist=loadgroup --ignore=tests/charts

test: install ## Everything: devcluster, images, chart, the product on a real cluster
	$(PY) -m tools.everything

demo: install ## From nothing to predictions from a real cluster
	$(PY) -m demo up

demo-down: install ## Take the demo and its cluster away again
	$(PY) -m demo down

images: install ## Build the three images and load them into the devcluster
	$(PY) -m devcluster images

cluster-up: install ## Start the devcluster
	$(PY) -m devcluster up

cluster-down: install ## Stop the devcluster and remove what it made
	$(PY) -m devcluster down

bench: install ## 1,000 ModelDeployments on kwok nodes; writes docs/benchmarks/
	$(PY) -m benchmarks.scale
