"""``transcribed.toml`` and ``TRANSCRIBED_*`` in, one frozen and validated `Config` out."""

from daemon.config.load import Loaded, load, rule_of
from daemon.config.schema import Config, DecodeConfig, EngineConfig, InboxConfig, OptionsConfig, WatchMode

__all__ = [
    "Config",
    "DecodeConfig",
    "EngineConfig",
    "InboxConfig",
    "Loaded",
    "OptionsConfig",
    "WatchMode",
    "load",
    "rule_of",
]
