"""The command line: one module per command, loaded only when it is the one that was typed."""

from daemon.cli.app import main

__all__ = ["main"]
