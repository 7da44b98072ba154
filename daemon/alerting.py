"""Who is told of alerts and of ended jobs, from the configuration. Knows nothing of when, or how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import time

from daemon.config import Config, InboxConfig
from daemon.errors import ConfigError
from monitor.notices.addresses import Address, AddressError, addresses_of, credential, distinct, read_addresses
from monitor.notices.notices import Policy
from monitor.notices.post import InboxNotices, Setup


def setup_of(config: Config, environment: Mapping[str, str]) -> Setup:
    """Who is told what, and when: `alerts.to`, the files of `alerts.to_files`, and systemd's credential ``alerts``.

    Raises ConfigError for an address that is none, and for a file that cannot be read.
    """
    try:
        everybody = distinct(_told(config, environment))
        inboxes = {
            str(inbox.path): InboxNotices(frozenset(inbox.notify), _notified(index, inbox) or everybody)
            for index, inbox in enumerate(config.inbox)
            if inbox.notify or (inbox.notify_to and "notify" in inbox.may_set)
        }
    except AddressError as error:
        raise ConfigError(str(error)) from None
    return Setup(_policy(config), everybody, inboxes)


def _told(config: Config, environment: Mapping[str, str]) -> Iterator[Address]:
    yield from addresses_of(config.alerts.to, "alerts.to")
    passed_on = credential(environment)
    for path in (*config.alerts.to_files, *((passed_on,) if passed_on else ())):
        yield from read_addresses(path)


def _notified(index: int, inbox: InboxConfig) -> tuple[Address, ...]:
    return distinct(addresses_of(inbox.notify_to, f"inbox[{index}].notify_to"))


def _policy(config: Config) -> Policy:
    alerts = config.alerts
    quiet = alerts.quiet_hours
    begin, end = (time.fromisoformat(part) for part in quiet.split("-")) if quiet else (time(), time())
    return Policy(
        min_severity=alerts.min_severity,
        group_s=alerts.group_s,
        repeat_s=alerts.repeat_s,
        quiet_hours=(begin, end) if quiet else None,
    )
