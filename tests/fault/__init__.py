"""The fault suite: real processes, a real Kafka, and faults; see README.md."""
