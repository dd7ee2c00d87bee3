"""Kernels: columns in, columns out. No Kafka, no clock, no I/O, no random."""
