# The targets that need a Kubernetes cluster; the Makefile at the top includes this file, and make
# runs from there. $(BIN) is the virtual environment's bin, $(STAMP) the file that says it is made.
CLUSTER := tests/cluster/cluster.py
# Longer than the other suites allow a test: the first one boots the cluster.
CLUSTER_PYTEST := $(BIN)/pytest --timeout 600
# What an ordinary `make test` says at its end.
CLUSTER_NOTE := the cluster tests were not run: make test-cluster runs them (as root with Go, or against KUBECONFIG)

.PHONY: cluster-up cluster-down test-cluster

cluster-up: ## boot a real single-node Kubernetes on this machine (needs root and Go)
	@$(PYTHON) $(CLUSTER) up

cluster-down: ## remove that cluster and all its traces
	@$(PYTHON) $(CLUSTER) down

# The teardown test boots a cluster of its own, so it comes after the run that shares one, and only
# where that one is not somebody's to keep.
test-cluster: $(STAMP) ## test against $KUBECONFIG if set, else against that cluster
ifdef KUBECONFIG
	@$(CLUSTER_PYTEST) -n 2 tests/cluster
else
	@$(PYTHON) $(CLUSTER) build
	@$(CLUSTER_PYTEST) -n 2 tests/cluster
	@if $(PYTHON) $(CLUSTER) status >/dev/null; then \
		echo "teardown not tested: the cluster was up before; run 'make cluster-down test-cluster'"; \
	else \
		$(CLUSTER_PYTEST) tests/cluster/test_teardown.py; \
	fi
endif
