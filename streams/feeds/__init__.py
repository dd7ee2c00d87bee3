"""Feeds: data sets and the demo's scenario as input of the pipeline."""

from collections.abc import Callable
from pathlib import Path

from schemas.errors import ConfigError
from streams.feeds.eight_hubs import EightHubs
from streams.feeds.feed import Event, Feed

FEEDS: dict[str, Callable[[Path], Feed]] = {
    "eight-hubs": EightHubs.open,
}


def open_feed(name: str, path: Path) -> Feed:
    """The feed of that name over the data sets at `path`.

    Raises ConfigError for an unknown name, or a file that is missing.
    """
    if name not in FEEDS:
        raise ConfigError(f"no feed {name!r}", f"choose one of {', '.join(FEEDS)}")
    return FEEDS[name](path)


__all__ = ["FEEDS", "EightHubs", "Event", "Feed", "open_feed"]
