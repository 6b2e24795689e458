"""Operator: StreamRequests of a Kubernetes cluster become running streams."""
