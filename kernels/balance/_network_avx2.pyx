# The same source compiled for wider vectors (setup.py): the same operations in the same order on
# four lanes instead of two, so every bit is the same. machine.py asks which to use.
include "_network.pyx"
