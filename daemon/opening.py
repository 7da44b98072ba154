"""Where the daemon is asked over HTTP: the listener, and what is served there. Loads what it needs only when asked for.

Without the extra ``web`` it is what monitoring asks for alone.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING

from daemon import web
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.monitoring import LATE_INTERVALS, Monitoring
from daemon.version import VERSION
from monitor.pages.listening import CannotListen

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from daemon.web.app import Front
    from daemon.web.site import Site
    from monitor.pages.serving import Serving

log = logging.getLogger(__name__)


class Pages:
    """What is served. `close` ends it."""

    def __init__(self, serving: Serving, front: Front | None) -> None:
        self._serving = serving
        self._front = front

    @property
    def with_site(self) -> bool:
        """Whether there are pages for people too."""
        return self._front is not None

    def open(self, site: Site) -> None:
        """The pages for people are there from now on."""
        if self._front is not None:
            self._front.open(site)

    def close(self) -> None:
        """Nothing is served any more."""
        self._serving.close()


def open_pages(
    config: Config,
    environment: MutableMapping[str, str],
    monitoring: Monitoring,
    sick: Callable[[], str],
    not_ready: Callable[[], str],
) -> Pages | None:
    """What can be asked over HTTP, served; None where nobody asked for it. Raises ConfigError."""
    if not config.web.listen and "LISTEN_FDS" not in environment:
        return None
    from monitor.pages.endpoints import STALE_S, Known, make_app, make_endpoints  # only now: some 20 MB
    from monitor.pages.serving import Impatient, serve

    stale_s = max(STALE_S, LATE_INTERVALS * config.monitor.interval_s)
    known = Known(VERSION, lambda: monitoring.latest, sick, not_ready, lambda: monitoring.open_alerts, stale_s=stale_s)
    app = make_app(known)
    http: type[H11Protocol] = Impatient
    front = None
    if _pages_wanted(config):
        from daemon.web.access.hosts import SOCKET
        from daemon.web.access.policy import Policy
        from daemon.web.app import Front
        from daemon.web.serving import Patient

        _check_access(config)
        policy = Policy.of(config)
        app = front = Front(app, make_endpoints(known), policy)
        n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        http = Patient.made_for((*policy.trusted, SOCKET), n_files if n_files > 0 else 1 << 20)
    try:
        serving = serve(
            config.web.listen, environment, app, anywhere=front is not None and bool(config.web.login), http=http
        )
    except (CannotListen, ValueError) as error:
        raise ConfigError(str(error)) from None
    return Pages(serving, front) if serving is not None else None


def _pages_wanted(config: Config) -> bool:
    if not config.web.pages:
        return False
    if not web.installed():
        log.warning(
            "There are no pages for people: transcribed[web] is not installed; web.pages = false ends this warning",
            extra={"event": "web_missing"},
        )
        return False
    return True


def _check_access(config: Config) -> None:
    """Files that others could read or change let nobody in: better to say so now. Raises ConfigError."""
    from daemon.web.access import people, secret_file

    try:
        users = people.parse(secret_file.read(config.users_file))
        secret_file.read(config.tokens_file)
    except secret_file.UnsafeFile as error:
        raise ConfigError(str(error)) from None
    if config.web.login == ("password",) and not users:
        log.warning(
            "%s: nobody can log in yet: transcribed web-user add NAME",
            config.users_file,
            extra={"event": "web_no_users"},
        )
