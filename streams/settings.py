"""Settings: one place, every one with a default and an environment name (GRIDLOOM_ + name)."""

import ssl
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigError

_NEAR = 0.8  # of 1: a name so like a setting's is meant for it


class Settings(BaseSettings):
    """All settings of gridloom. `gridloom doctor` prints those in force (never the password)."""

    model_config = SettingsConfigDict(env_prefix="GRIDLOOM_", frozen=True)

    brokers: str = Field("", description="host:port,... of a cluster; empty = the embedded broker")
    namespace: str = Field("", description="prefix of topics and consumer groups, e.g. 'test1.'")
    replication: int = Field(1, ge=1, description="replication factor of topics that are created")

    tls_ca: Path | None = Field(None, description="CA file; set = brokers are reached by TLS")
    sasl_username: str = Field("", description="SCRAM-SHA-512 user; empty = no login")
    sasl_password: SecretStr = Field(SecretStr(""), description="SCRAM-SHA-512 password")

    batch_rows: int = Field(16_384, ge=1, description="ingest closes a batch at so many rows")
    batch_bytes: int = Field(4 << 20, ge=1, description="or at so many bytes")
    batch_ms: int = Field(50, ge=1, description="or when it is so old")
    window_ms: int = Field(900_000, ge=1_000, description="length of a rollup's window")
    save_messages: int = Field(
        8, ge=1, description="an agent saves its state every so many messages"
    )
    save_ms: int = Field(100, ge=1, description="or when the oldest unsaved one is so old")
    session_ms: int = Field(6_000, ge=2_000, description="a silent worker loses its partitions")

    metrics_port: int = Field(0, ge=0, description="Prometheus port of a worker; 0 = none")
    metrics_host: str = Field("127.0.0.1", description="address the metrics listen on")
    log_level: str = Field("info", description="debug, info, warning or error")
    log_format: str = Field("json", description="json or text")

    def topic(self, name: str) -> str:
        """Name of a topic or consumer group on the cluster."""
        return self.namespace + name

    @property
    def kafka(self) -> dict[str, Any]:
        """Connection arguments of an aiokafka client.

        ConfigError for a CA file that is none, and for half of a login.
        """
        arguments: dict[str, Any] = {"bootstrap_servers": self.brokers}
        if bool(self.sasl_username) != bool(self.sasl_password.get_secret_value()):
            given, other = "USERNAME", "PASSWORD"
            if not self.sasl_username:
                given, other = other, given
            raise ConfigError(
                f"GRIDLOOM_SASL_{given} is set and GRIDLOOM_SASL_{other} is not",
                "set both for a SCRAM-SHA-512 login, or none",
            )
        tls = _trusting(self.tls_ca) if self.tls_ca else None
        if tls:
            arguments["ssl_context"] = tls
        if self.sasl_username:
            arguments |= {
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        arguments["security_protocol"] = ("SASL_" if self.sasl_username else "") + (
            "SSL" if tls else "PLAINTEXT"
        )
        return arguments


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        raise ConfigError(
            f"GRIDLOOM_TLS_CA: {ca}: {error.strerror or error}",
            "name a readable PEM file of the CA that signed the brokers' certificates",
        ) from None


def misspelt(environment: Iterable[str]) -> dict[str, str]:
    """Of names of the environment those that are nearly a setting's: name -> the setting's."""
    prefix = Settings.model_config["env_prefix"]
    known = [field.upper() for field in Settings.model_fields]
    nearly: dict[str, str] = {}
    for name in environment:
        setting = name.removeprefix(prefix)
        if name.startswith(prefix) and setting not in known:
            near = get_close_matches(setting, known, 1, _NEAR)
            nearly |= {name: prefix + near[0]} if near else {}
    return nearly


@cache
def settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return Settings()
