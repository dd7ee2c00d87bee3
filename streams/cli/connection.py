"""The cluster a command works on: the user's (GRIDLOOM_BROKERS), else the embedded broker."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.errors import ConfigError
from streams.client import admin, partitions_of
from streams.log import configure
from streams.settings import Settings, misspelt, settings

T = TypeVar("T")

EMBEDDED = "default"  # name of the broker that `gridloom broker start` runs


def connected_settings() -> Settings:
    """The settings with brokers filled. Raises ConfigError where there is no broker to use."""
    known = command_settings()
    if known.brokers:
        return known
    from streams.broker import Broker

    status = Broker(EMBEDDED).status()
    if not status.running:
        raise ConfigError(
            "no broker: GRIDLOOM_BROKERS is not set and the embedded broker does not run",
            "`gridloom broker start`, or set GRIDLOOM_BROKERS=host:port of your cluster",
        )
    return known.model_copy(update={"brokers": status.bootstrap})


def command_settings() -> Settings:
    """The settings of a command at a terminal: readable, quiet logs unless others are asked for.

    ConfigError for a value that is none, and for a name that nearly is a setting's: what is
    meant as GRIDLOOM_TLS_CA must not be passed over.
    """
    try:
        known = settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "GRIDLOOM_" + "_".join(map(str, first["loc"])).upper()
        raise ConfigError(f"{name}: {first['msg']}", f"correct or unset {name}") from None
    for name, meant in misspelt(os.environ).items():
        raise ConfigError(f"{name} is no setting", f"did you mean {meant}? Correct or unset it")
    quiet = {"log_format": "text", "log_level": "warning"}
    asked = known.model_fields_set
    configure(known.model_copy(update={k: v for k, v in quiet.items() if k not in asked}))
    if "log_level" not in asked:  # a broker that is away is our error, once, not its retries
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return known


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work to its end; Ctrl-C cancels it cleanly."""
    return asyncio.run(work)


async def require_broker(settings: Settings) -> None:
    """Raises BrokerUnreachableError where none answers: for what would only say so by its logs."""
    async with admin(settings):
        pass


async def require_topics(settings: Settings, *names: str) -> dict[str, set[int]]:
    """The partitions of these topics (names on the cluster). Raises ConfigError if one is absent.

    Asked first because a Kafka client waits a minute for a topic that is not there.
    """
    present = await partitions_of(settings, list(names))
    for name in names:
        if name not in present:
            raise ConfigError(
                f"topic {name} does not exist at {settings.brokers}",
                "`gridloom topics --create`; a contract's topic comes with its contract",
            )
    return present
