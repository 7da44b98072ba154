"""The endpoints over real sockets, and everything that may not listen."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.config import load
from daemon.errors import ConfigError
from monitor.alert import Alert
from monitor.figures import FIGURES, Key, Sample
from monitor.pages import serving
from monitor.pages.endpoints import Known, make_app, metric_name, shown_names
from monitor.pages.listening import CannotListen, Port, SocketFile, open_listener, parse, take_inherited
from monitor.pages.serving import MAX_CONNECTIONS, Serving, serve

MONITOR = Path(__file__).parents[2] / "monitor"
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def every_figure() -> dict[Key, float]:
    """One value of each figure, with a subject where it has one."""
    return {
        Key(name, f"{meaning.subject}-1" if meaning.subject else ""): 0.5 + index
        for index, (name, meaning) in enumerate(FIGURES.items())
    }


def alert(subject: str = "") -> Alert:
    key = Key("gpu_temperature_celsius", subject)
    return Alert("gpu_hot", key, "critical", "GPU 0 has 91 C", "look", "", 85.0, 90.0, 91.0, 92.0, AT, AT)


@dataclass
class Told:
    """What the endpoints are told, to be changed by a test."""

    sample: Sample | None = None
    sick: str = ""
    not_ready: str = ""
    alerts: tuple[Alert, ...] = ()
    at: datetime = AT

    def known(self) -> Known:
        """As the endpoints are told."""
        return Known(
            version="1.2.3",
            sample=lambda: self.sample,
            sick=lambda: self.sick,
            not_ready=lambda: self.not_ready,
            alerts=lambda: self.alerts,
            clock=lambda: self.at,
        )


@dataclass
class Site:
    """A server on a port of this machine."""

    told: Told
    port: int
    serving: Serving

    def get(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def site() -> Iterator[Site]:
    told = Told()
    port = free_port()
    serving = serve(f"127.0.0.1:{port}", {}, make_app(told.known()))
    assert serving is not None
    yield Site(told, port, serving)
    serving.close()


# The page for Prometheus.


def test_every_figure_is_on_the_page_under_the_name_that_is_promised(site: Site) -> None:
    """What rules and dashboards are checked against is what the page really has."""
    site.told.sample = Sample(AT, every_figure())
    site.told.alerts = (alert("0"),)
    status, page = site.get("/metrics")
    assert status == 200
    series = {re.split(r"[{ ]", line)[0] for line in page.splitlines() if not line.startswith("#")}
    assert series == set(shown_names())
    assert 'transcribed_build_info{version="1.2.3"} 1.0' in page
    assert 'transcribed_alert_open{rule="gpu_hot",severity="critical",subject="0"} 1.0' in page
    assert f"transcribed_sample_timestamp_seconds {AT.timestamp():.9e}".split("e")[0][:20] in page


def test_a_figure_that_was_not_read_is_not_there(site: Site) -> None:
    """It is never told as 0; before the first sample there is only the version."""
    assert site.get("/metrics")[1].count("\ntranscribed_") == 1
    site.told.sample = Sample(AT, {Key("host_memory_used_ratio"): 0.25})
    page = site.get("/metrics")[1]
    assert "transcribed_host_memory_used_ratio 0.25" in page
    assert "host_cpu" not in page


def test_old_figures_are_left_out_and_when_they_are_of_stays(site: Site) -> None:
    """A monitor that stands still shows as such: the time of its last sample, and no figures that look like now."""
    site.told.sample = Sample(AT, {Key("host_memory_used_ratio"): 0.25})
    site.told.at = AT + timedelta(hours=1)
    page = site.get("/metrics")[1]
    assert "transcribed_sample_timestamp_seconds" in page
    assert "host_memory" not in page


def test_of_jobs_the_worst_is_told_without_their_numbers(site: Site) -> None:
    """A label with the number of a job would make a series of each."""
    site.told.sample = Sample(AT, {Key("job_overtime_ratio", "12"): 1.5, Key("job_overtime_ratio", "13"): 4.0})
    assert "\ntranscribed_job_overtime_ratio 4.0\n" in site.get("/metrics")[1]


@pytest.mark.fault(55, "hostile names on the page for Prometheus")
@pytest.mark.parametrize(
    "name", ['/srv/"quoted"', "/srv/new\nline 1", "/srv/back\\slash", "/srv/caf\udce9", "/srv/\u202egnp"]
)
def test_no_name_can_break_the_page(site: Site, name: str) -> None:
    """Folders are called what people like; one that is no UTF-8 does not cost the page."""
    site.told.sample = Sample(AT, {Key("folder_free_ratio", name): 0.5})
    site.told.alerts = (alert(name),)
    status, page = site.get("/metrics")
    assert status == 200
    (line,) = [line for line in page.splitlines() if line.startswith("transcribed_folder_free_ratio{")]
    assert line.endswith('"} 0.5')


@needs_promtool
def test_promtool_accepts_the_page(site: Site) -> None:
    """Names, units, types and help are as Prometheus wants them; its linter finds nothing."""
    site.told.sample = Sample(AT, every_figure())
    site.told.alerts = (alert('hostile "name"\n'),)
    page = site.get("/metrics")[1]
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_names_have_whole_units() -> None:
    """Prometheus wants base units in words."""
    assert metric_name("queue_still_s") == "transcribed_queue_still_seconds"
    assert metric_name("gpu_clock_hz") == "transcribed_gpu_clock_hertz"
    assert metric_name("gpu_power_w") == "transcribed_gpu_power_watts"
    assert metric_name("process_rss_slope_bytes_per_h") == "transcribed_process_rss_slope_bytes_per_hour"


# Health.


def test_health_and_readiness_are_two_things(site: Site) -> None:
    """Alive but without an engine: nobody should restart it, and nobody should count on it."""
    assert site.get("/healthz") == (200, "ok\n")
    assert site.get("/readyz") == (200, "ok\n")
    site.told.not_ready = "the engine is loading"
    assert site.get("/healthz") == (200, "ok\n")
    assert site.get("/readyz") == (503, "the engine is loading\n")
    site.told.sick = "the loop dispatcher has not moved for 45 s"
    assert site.get("/healthz") == (503, "the loop dispatcher has not moved for 45 s\n")
    assert site.get("/readyz")[0] == 503


def test_a_bug_of_ours_costs_one_answer(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks gets a 500, the log the reason, and the next request an answer."""
    broken = replace(site.told.known(), sick=lambda: str(1 // 0))
    sock = socket.create_server(("127.0.0.1", 0))
    other = Serving(make_app(broken), [sock])
    other.start()
    bad = Site(site.told, sock.getsockname()[1], other)
    assert bad.get("/healthz")[0] == 500
    assert bad.get("/metrics")[0] == 200
    other.close()
    assert "ZeroDivisionError" in caplog.text


# Who may ask, and how much.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "LOCALHOST", "[::1]:8765", "127.3.4.5:1"])
def test_this_machine_has_many_names(site: Site, host: str) -> None:
    """Every name of the loopback is heard."""
    assert site.get("/healthz", headers={"Host": host})[0] == 200


@pytest.mark.fault(56, "foreign Host headers")
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.", "[::1", "0"]
)
def test_a_page_that_leads_its_name_to_us_learns_nothing(site: Site, host: str) -> None:
    """DNS rebinding: the browser asks us, but under the page's own name."""
    assert site.get("/metrics", headers={"Host": host})[0] == 421


@pytest.mark.fault(56, "other sites, other methods")
def test_other_sites_and_other_methods_are_refused(site: Site) -> None:
    """There is nothing to change here, and nothing for scripts of other pages."""
    assert site.get("/metrics", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert site.get("/metrics", method)[0] == 405
    assert site.get("/metrics", "HEAD") == (200, "")
    assert site.get("/elsewhere")[0] == 404


@pytest.mark.fault(54, "paths that lead out, in the requests")
@pytest.mark.parametrize(
    "path", ["/metrics/../../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/%00", "/metrics%00", "/file?id=-1"]
)
def test_no_path_leads_to_a_file(site: Site, path: str) -> None:
    """There are three pages, and nothing else answers."""
    assert site.get(path)[0] in (400, 404)


@pytest.mark.fault(57, "an endless request")
def test_a_request_that_is_too_long_is_cut_off(site: Site) -> None:
    """Line and headers have a limit; what else is sent is not kept."""
    sock = socket.create_connection(("127.0.0.1", site.port), timeout=10)
    with contextlib.closing(sock), contextlib.suppress(OSError):  # it hangs up while we talk
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000)
        assert sock.recv(1000).startswith(b"HTTP/1.1 400")
    assert site.get("/healthz")[0] == 200


@pytest.mark.fault(57, "silent connections")
def test_connections_that_say_nothing_are_ended(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """Whoever opens one and falls silent, or never ends its request, is hung up on."""
    monkeypatch.setattr(serving, "CONNECTION_S", 0.2)
    for said in (b"", b"GET /metrics HTTP/1.1\r\nHost: localh"):
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as sock:
            sock.sendall(said)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1000) == b""


@pytest.mark.fault(57, "a crowd of silent connections")
def test_no_crowd_of_silent_connections_shuts_out_a_request(site: Site) -> None:
    """The oldest go; the daemon's descriptors are not eaten up; and it ends in time with the crowd still there."""
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.ExitStack() as crowd:
        for _ in range(3 * MAX_CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=10))
            assert site.get("/healthz")[0] == 200
        assert len(os.listdir("/proc/self/fd")) - before < 3 * MAX_CONNECTIONS + MAX_CONNECTIONS + 10
        began = time.monotonic()
        site.serving.close()
        assert time.monotonic() - began < 6


def test_nothing_is_told_twice_and_the_end_is_the_end(site: Site) -> None:
    """After `close` nobody answers; closing again does no harm."""
    site.serving.close()
    site.serving.close()
    with pytest.raises(ConnectionRefusedError):
        site.get("/healthz")


# Where it listens.


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8765", Port("127.0.0.1", 8765)),
        ("localhost:1", Port("127.0.0.1", 1)),
        ("127.9.9.9:65535", Port("127.9.9.9", 65535)),
        ("[::1]:8765", Port("::1", 8765)),
        ("/run/transcribed/web.sock", SocketFile(Path("/run/transcribed/web.sock"))),
    ],
)
def test_addresses_of_this_machine_are_taken(listen: str, address: Port | SocketFile) -> None:
    """Port and socket files."""
    assert parse(listen) == address
    assert listen.startswith("localhost") or str(address) == listen


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:8765", "only this machine can reach, and 0.0.0.0 is not"),
        ("[::]:8765", "only this machine can reach"),
        ("192.168.1.5:8765", "put a web server with a login in front"),
        ("[fe80::1%eth0]:80", "only this machine"),
        ("[::1%eth0]:80", "only this machine"),
        ("[::ffff:10.0.0.1]:80", "only this machine"),
        ("example.org:80", "in numbers"),
        (":8765", "in numbers"),
        ("8765", "address with a port"),
        ("127.0.0.1", "address with a port"),
        ("::1:8765", "address with a port"),
        ("127.0.0.1:0", "from 1 to 65535"),
        ("127.0.0.1:70000", "from 1 to 65535"),
        ("127.0.0.1:-1", "address with a port"),
        ("http://127.0.0.1:80", "address with a port"),
        ("run/web.sock", "a path"),
        ("/run/" + "x" * 110, "at most 107 bytes"),
    ],
)
def test_nothing_else_is(listen: str, why: str) -> None:
    """Neither what other machines can reach nor what is no address; it is said what would be right."""
    with pytest.raises(ValueError, match=re.escape(why)):
        parse(listen)


def test_a_port_that_is_taken_is_said_in_words() -> None:
    """The address, the reason, and the key to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"127.0.0.1:{port}: cannot listen there: .*in use.*web.listen"):
            serve(f"127.0.0.1:{port}", {}, make_app(Told().known()))


def ask_file(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(request)
        return sock.recv(65536)


def test_a_socket_file_serves_and_is_for_the_group_alone(tmp_path: Path) -> None:
    """Whoever may open it is answered, under whatever name; it is gone afterwards."""
    path = tmp_path / "web.sock"
    serving = serve(str(path), {}, make_app(Told().known()))
    assert serving is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    answer = ask_file(path, b"GET /healthz HTTP/1.1\r\nHost: metrics.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    serving.close()
    assert not path.exists()


def test_a_dead_socket_file_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    """One that a killed daemon left is no obstacle; a living one, or a file of somebody, stays."""
    path = tmp_path / "web.sock"
    open_listener(SocketFile(path)).close()
    assert path.exists()
    with open_listener(SocketFile(path)), pytest.raises(CannotListen, match=r"in use"):
        open_listener(SocketFile(path))
    file = tmp_path / "letter.txt"
    file.write_text("dear")
    with pytest.raises(CannotListen, match=r"in use"):
        open_listener(SocketFile(file))
    assert file.read_text() == "dear"


# Sockets from systemd.


def test_without_systemd_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables meant for another process are removed and not obeyed; with no address, nothing is served."""
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "HOME": "/"}
    assert take_inherited(environment) == []
    assert environment == {"HOME": "/"}
    assert serve("", {}, make_app(Told().known())) is None


Started = tuple[dict[str, Any], Callable[[], int]]

CHILD = """
import json, os, sys, subprocess
from monitor.pages.endpoints import Known, make_app
from monitor.pages.listening import CannotListen
from monitor.pages.serving import serve
os.environ["LISTEN_PID"] = str(os.getpid())
try:
    app = make_app(Known("1", lambda: None, lambda: "", lambda: "not yet"))
    serving = serve(os.environ.pop("LISTEN"), os.environ, app)
except CannotListen as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
left = [name for name in os.environ if name.startswith("LISTEN")]
child = "import os; print(os.path.exists('/proc/self/fd/3'))"
passed = subprocess.run([sys.executable, "-c", child], stdout=subprocess.PIPE, close_fds=False, text=True).stdout
print(json.dumps({"left": left, "passed": passed.strip()}), flush=True)
sys.stdin.read()
serving.close()
"""


@contextlib.contextmanager
def started_by_systemd(
    given: socket.socket | int, listen: str = ""
) -> Generator[tuple[dict[str, Any], Callable[[], int]]]:
    """A process that has *given* as descriptor 3: what it says first, and a way to end it that gives its exit code."""
    fd = given if isinstance(given, int) else given.fileno()

    def as_third() -> None:
        os.dup2(fd, 3, inheritable=True)

    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "LISTEN": listen}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=MONITOR.parent,
        close_fds=False,
        preexec_fn=as_third,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        said: dict[str, Any] = json.loads(process.stdout.readline())

        def end() -> int:
            process.communicate("")
            return process.returncode

        yield said, end
        process.kill()


def test_a_socket_that_systemd_opened_is_served(tmp_path: Path) -> None:
    """It is answered; no child hears of the socket or gets it; the file is systemd's to remove."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        with started_by_systemd(sock) as (said, end):
            assert said == {"left": [], "passed": "False"}
            assert b"503" in ask_file(path, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert end() == 0
    assert path.exists()


def test_an_address_that_systemd_opened_is_not_opened_twice(tmp_path: Path) -> None:
    """``web.listen`` and ListenStream= may name the same place."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        with started_by_systemd(sock, f"{tmp_path}/./web.sock") as (_said, end):
            assert b"503" in ask_file(path, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert end() == 0
    assert path.exists()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with started_by_systemd(sock, f"localhost:{port}") as (said, _end):
            assert "error" not in said


def test_a_socket_from_systemd_that_others_can_reach_is_refused() -> None:
    """A careless ListenStream= does not open the figures to the network."""
    with socket.create_server(("0.0.0.0", 0)) as sock, started_by_systemd(sock) as (said, _end):
        assert re.search(r"ListenStream= .* 0\.0\.0\.0 .*only this machine", said["error"])


def test_a_descriptor_from_systemd_that_is_no_listener_is_refused(tmp_path: Path) -> None:
    """A file, or a socket that does not listen."""
    with (tmp_path / "file").open("wb") as file, started_by_systemd(file.fileno()) as (said, _end):
        assert "is no socket" in said["error"]
    with socket.socket() as sock, started_by_systemd(sock) as (said, _end):
        assert "does not listen" in said["error"]


@pytest.mark.parametrize("listen", ["0.0.0.0", "8765", "example.org:80"])
def test_a_wrong_address_is_the_operators_to_mend(tmp_path: Path, listen: str) -> None:
    """It is refused with the configuration, before anything starts (exit code 78), with what would be right."""
    file = tmp_path / "transcribed.toml"
    file.write_text(f'[web]\nlisten = "{listen}"\n')
    with pytest.raises(ConfigError, match=rf"web.listen = '{listen}' \(file .*\): must be an address"):
        load(file, {})
