"""Ingest: verify, decode and pack what devices, operators and tenants send."""
