"""Feeds: data sets and the demo's scenario as input of the pipeline."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path

from schemas.errors import ConfigError
from streams.feeds.citylearn import CityLearn
from streams.feeds.eight_hubs import EightHubs
from streams.feeds.feed import Event, Feed
from streams.feeds.gaia import Gaia
from streams.feeds.openb import OpenB
from streams.feeds.rts_gmlc import RtsGmlc

# name -> what makes the feed, from the folder of the data sets and its options
FEEDS: dict[str, Callable[..., Feed]] = {
    EightHubs.name: EightHubs.open,
    RtsGmlc.name: RtsGmlc,
    CityLearn.name: CityLearn,
    OpenB.name: OpenB,
    Gaia.name: Gaia,
}


def open_feed(name: str, path: Path, **options: int | str) -> Feed:
    """The feed of that name over the data sets at `path`, with its options (days, trace, ...).

    Raises ConfigError: an unknown feed or option, a value outside the data, a file that is missing.
    """
    if name not in FEEDS:
        raise ConfigError(f"no feed {name!r}", f"choose one of {', '.join(FEEDS)}")
    known = list(signature(FEEDS[name]).parameters)[1:]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ConfigError(
            f"{name} has no option {', '.join(unknown)}", f"it has {', '.join(known) or 'none'}"
        )
    return FEEDS[name](path, **options)


__all__ = [
    "FEEDS",
    "CityLearn",
    "EightHubs",
    "Event",
    "Feed",
    "Gaia",
    "OpenB",
    "RtsGmlc",
    "open_feed",
]
