"""``transcribed.toml`` and ``TRANSCRIBED_*`` in, one frozen and validated `Config` out."""

from daemon.config.load import Loaded, load, rule_of
from daemon.config.schema import (
    Config,
    DatabaseConfig,
    DecodeConfig,
    EngineConfig,
    HistoryConfig,
    InboxConfig,
    OptionsConfig,
    WatchMode,
)

__all__ = [
    "Config",
    "DatabaseConfig",
    "DecodeConfig",
    "EngineConfig",
    "HistoryConfig",
    "InboxConfig",
    "Loaded",
    "OptionsConfig",
    "WatchMode",
    "load",
    "rule_of",
]
