"""Shared library of LCLStream Operator: specifications, plans, transport, certificates, client."""
