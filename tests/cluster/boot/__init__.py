"""Builds, boots and removes the single-node Kubernetes cluster that the tests run against."""
