"""Simulation: the real wrapper and journal on a log in memory, in virtual time, under every fault.

One schedule is a function of its seed: the same seed crashes, delays and duplicates at the same
awaits, so that a rare interleaving is found in seconds and replayed at will.
"""
