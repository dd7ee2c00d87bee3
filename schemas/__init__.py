"""Schemas: every topic of the pipeline, and the only place where a field is named."""

from schemas.deadletter import DEAD_LETTER, REASONS
from schemas.decisions import ALERTS, DISPATCH, PLACEMENTS, PRICES, SIGNALS
from schemas.errors import (
    ConfigError,
    DecodeError,
    FieldError,
    GridloomError,
    RegistryError,
)
from schemas.market import MARKET, MARKET_IN
from schemas.registry import REGISTRY
from schemas.settlement import CHECKPOINTS, SETTLEMENT
from schemas.telemetry import READINGS, TELEMETRY_IN
from schemas.topic import Column, Topic, partition_of
from schemas.usage import ROLLUPS, ROLLUPS_PARTIAL, USAGE

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        TELEMETRY_IN,
        MARKET_IN,
        REGISTRY,
        READINGS,
        MARKET,
        USAGE,
        ROLLUPS_PARTIAL,
        ROLLUPS,
        DISPATCH,
        PLACEMENTS,
        PRICES,
        SIGNALS,
        ALERTS,
        SETTLEMENT,
        CHECKPOINTS,
        DEAD_LETTER,
    )
}

__all__ = [
    "ALERTS",
    "CHECKPOINTS",
    "DEAD_LETTER",
    "DISPATCH",
    "MARKET",
    "MARKET_IN",
    "PLACEMENTS",
    "PRICES",
    "READINGS",
    "REASONS",
    "REGISTRY",
    "ROLLUPS",
    "ROLLUPS_PARTIAL",
    "SETTLEMENT",
    "SIGNALS",
    "TELEMETRY_IN",
    "TOPICS",
    "USAGE",
    "Column",
    "ConfigError",
    "DecodeError",
    "FieldError",
    "GridloomError",
    "RegistryError",
    "Topic",
    "partition_of",
]
