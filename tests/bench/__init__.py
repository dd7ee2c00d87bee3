"""Benchmarks: gridloom beside its peers, on the same machine, in one run.

`python -m tests.bench` lists the suites; each prints one JSON line a case.
"""
