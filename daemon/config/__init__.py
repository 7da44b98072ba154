"""``transcribed.toml`` and ``TRANSCRIBED_*`` in, one frozen and validated `Config` out."""

from daemon.config.load import Loaded, load, rule_of
from daemon.config.schema import (
    AlertsConfig,
    CanaryConfig,
    Config,
    DatabaseConfig,
    DecodeConfig,
    EngineConfig,
    HistoryConfig,
    InboxConfig,
    MonitorConfig,
    OptionsConfig,
    RuleConfig,
    WatchMode,
    WebConfig,
)

__all__ = [
    "AlertsConfig",
    "CanaryConfig",
    "Config",
    "DatabaseConfig",
    "DecodeConfig",
    "EngineConfig",
    "HistoryConfig",
    "InboxConfig",
    "Loaded",
    "MonitorConfig",
    "OptionsConfig",
    "RuleConfig",
    "WatchMode",
    "WebConfig",
    "load",
    "rule_of",
]
