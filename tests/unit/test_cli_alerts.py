"""`transcribed alerts` and `transcribed alerts test` as they are typed; what `config` and `doctor` say of addresses."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import time, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.alerting import setup_of
from daemon.cli import alerts, exits
from daemon.cli import config as show_config
from daemon.cli.app import app
from daemon.config import load
from daemon.config.schema import METRICS_NAME
from daemon.doctor import Grade, who_is_told
from daemon.errors import ConfigError, TranscribedError
from monitor.alert import Judgement
from monitor.figures import Sample
from monitor.history.store import MetricsHistory
from tests.unit.sinks import Web, sink
from tests.unit.test_monitor_notices import AT, HOT, alert, over

SECRET = "hunter2,x]y"


class Machine:
    """A state folder, and a configuration with the tables that a test adds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "transcribed.toml"
        (root / "inbox").mkdir()
        (root / "state").mkdir()
        self.write("")

    def write(self, alerts: str, inbox: str = "") -> Path:
        """The configuration with `[alerts]` and more of the inbox."""
        self.file.write_text(
            f'state_dir = "state"\n[alerts]\n{alerts}\n[[inbox]]\npath = "inbox"\n{inbox}\n', encoding="utf-8"
        )
        return self.file

    def history(self) -> MetricsHistory:
        """Of the figures and alerts."""
        return MetricsHistory.open(self.root / "state" / METRICS_NAME, 8 * 1024**2)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One, far from any configuration of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return Machine(tmp_path)


def _fill(machine: Machine) -> None:
    hot = replace(alert(HOT, "critical"), title="GPU 0 is too hot", words="a\x1b[2J.wav", limit=85, last=93, peak=95)
    mild = alert()
    with closing(machine.history()) as history:
        history.add(Sample(AT, {}), Judgement((hot, mild), (), (hot, mild)))
        history.add(Sample(AT + timedelta(seconds=90), {}), Judgement((), (over(mild, 90),), (hot,)))


def test_open_alerts_are_shown_with_what_to_do(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are over only with --all; nothing in them can move the cursor."""
    _fill(machine)
    alerts.show(machine.file, 50, everything=False, as_json=False)
    told = capsys.readouterr().out
    assert told.startswith("critical  GPU 0 is too hot\n")
    assert "now 93 °C, worst 95 °C, limit 85 °C" in told
    assert "next: Look at `top`." in told
    assert "a\\x1b[2J.wav" in told
    assert "resolved" not in told
    alerts.show(machine.file, 50, everything=True, as_json=False)
    told = capsys.readouterr().out
    assert "resolved  Memory of the machine 93 %, more than 90 %" in told
    assert "open for 1 min 30 s" in told


def test_alerts_as_json_are_for_scripts(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """All fields, times in UTC, the open ones first."""
    _fill(machine)
    alerts.show(machine.file, 50, everything=True, as_json=True)
    hot, mild = json.loads(capsys.readouterr().out)
    assert (hot["figure"], hot["subject"], hot["severity"], hot["resolved_at"]) == (*HOT, "critical", None)
    assert (mild["opened_at"], mild["resolved_at"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T12:01:30.000Z")


def test_without_alerts_it_says_so(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """And where no daemon ever ran, or its file was removed, that."""
    with pytest.raises(
        TranscribedError, match=r"metrics\.db: no figures yet; .* again within a minute if it was removed"
    ):
        alerts.show(machine.file, 50, everything=False, as_json=False)
    machine.history().close()
    alerts.show(machine.file, 50, everything=False, as_json=False)
    assert capsys.readouterr().out == "no alert is open; --all shows those that are over\n"


def test_the_test_message_reaches_each_address(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of an inbox and of a file too; one that does not work is named with its reason and makes the code 1."""
    with sink(Web) as one, sink(Web) as two, sink(Web) as three:
        secret = machine.root / "secret"
        secret.write_text(f"# mine\njson://127.0.0.1:{two.port}/{SECRET}\n")
        to = f'to = ["json://127.0.0.1:{one.port}/"]\nto_files = ["{secret}"]'
        machine.write(to, f'notify = ["failed"]\nnotify_to = ["json://127.0.0.1:{three.port}/"]')
        assert alerts.test(machine.file) == exits.OK
        for server in (one, two, three):
            assert server.got.get(timeout=10).content["title"].endswith(": test")
        assert capsys.readouterr().out.splitlines() == [
            "ok   json (alerts.to[0])",
            f"ok   json ({secret} line 2)",
            "ok   json (inbox[0].notify_to[0])",
        ]
        two.status = 503
        assert alerts.test(machine.file) == exits.FAILED
    told = capsys.readouterr().out
    assert f"bad  json ({secret} line 2): " in told
    assert "503" in told
    assert "hunter2" not in told


def test_a_test_without_addresses_says_what_to_set(machine: Machine) -> None:
    """Silence would look like success."""
    with pytest.raises(TranscribedError, match=r"nobody is told of alerts: set \[alerts\] to or to_files"):
        alerts.test(machine.file)


def test_who_types_the_test_is_told_of_what_the_service_alone_is_given(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd hands the file of addresses to the service, and to nobody's shell; who has it needs no hint."""
    hint = "sudo CREDENTIALS_DIRECTORY=/etc/transcribed transcribed alerts test"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(TranscribedError, match=hint):
        alerts.test(machine.file)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(machine.file.parent))
    with pytest.raises(TranscribedError, match=r"in the configuration$"):
        alerts.test(machine.file)


def test_both_commands_can_be_typed(machine: Machine) -> None:
    """`alerts` alone shows them, `alerts test` sends."""
    machine.history().close()
    runner = CliRunner()
    shown = runner.invoke(app, ["alerts", "--all", "-c", str(machine.file)])
    assert (shown.exit_code, shown.stdout) == (0, "no alert\n")
    with sink(Web) as server:
        machine.write(f'to = ["json://127.0.0.1:{server.port}/"]')
        tried = runner.invoke(app, ["alerts", "test", "-c", str(machine.file)])
    assert (tried.exit_code, tried.stdout) == (0, "ok   json (alerts.to[0])\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_the_printed_configuration_holds_no_address(
    machine: Machine, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """It is what people send along with a question."""
    machine.write(f'to = ["slack://{SECRET}"]', f'notify_to = ["json://me:{SECRET}@example.org"]')
    show_config.run(machine.file, as_json=as_json)
    told = capsys.readouterr().out
    assert "slack://***" in told
    assert "json://***" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "wrong",
    [
        f'to = "slack://{SECRET}"',
        f'to = ["slack://{SECRET}", 3]',
        f'too = ["slack://{SECRET}"]',
        f'min_severity = "slack://{SECRET}"',
    ],
)
def test_an_error_of_the_configuration_holds_no_address(machine: Machine, wrong: str) -> None:
    """It goes to a log."""
    with pytest.raises(ConfigError) as caught:
        load(machine.write(wrong), {})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(machine.write(""), {"TRANSCRIBED_ALERT": f"slack://{SECRET}"})
    assert "hunter2" not in str(caught.value)


def test_who_is_told_comes_from_the_configuration_and_from_systemd(machine: Machine) -> None:
    """An inbox without addresses of its own tells those of the alerts; one that names no ends tells nobody."""
    (machine.root / "alerts").write_text("json://b\n")
    told = 'to = ["json://a"]\nquiet_hours = "22:00-06:30"\nmin_severity = "critical"\ngroup_s = 5\nrepeat_s = 7'
    config = load(machine.write(told, 'notify = ["done"]'), {}).config
    setup = setup_of(config, {"CREDENTIALS_DIRECTORY": str(machine.root)})
    assert [address.url for address in setup.addresses] == ["json://a", "json://b"]
    assert setup.inboxes[str(machine.root / "inbox")].addresses == setup.addresses
    assert setup.inboxes[str(machine.root / "inbox")].kinds == {"done"}
    policy = setup.policy
    assert policy.quiet_hours == (time(22), time(6, 30))
    assert (policy.min_severity, policy.group_s, policy.repeat_s) == ("critical", 5, 7)
    assert setup_of(load(machine.write(""), {}).config, {}).everybody() == ()
    folders = 'notify_to = ["json://c"]'  # a folder may ask for it
    (notices,) = setup_of(load(machine.write("", folders), {}).config, {}).inboxes.values()
    assert ([address.url for address in notices.addresses], notices.kinds) == (["json://c"], frozenset())
    assert setup_of(load(machine.write("", folders + "\nmay_set = []"), {}).config, {}).inboxes == {}


def test_addresses_that_cannot_be_used_are_an_error_of_the_configuration(machine: Machine) -> None:
    """Known before the daemon starts, not when the first alert is lost."""
    for wrong in ('to = ["hello"]', f'to_files = ["{machine.root}/none"]'):
        config = load(machine.write(wrong), {}).config
        with pytest.raises(ConfigError, match=r"alerts\.to\[0\]|none: cannot be read"):
            setup_of(config, {})


def test_the_doctor_looks_at_the_addresses(machine: Machine) -> None:
    """Whether there are any, can be read, and can be read by us alone."""
    secret = machine.root / "secret"
    secret.write_text("json://b\n")

    def graded(text: str) -> tuple[Grade, str]:
        (check,) = who_is_told(load(machine.write(text), {}).config)
        return check.grade, check.finding

    assert graded("")[0] is Grade.NOTE
    assert graded('to = ["x"]')[0] is Grade.BAD
    secret.chmod(0o644)
    grade, finding = graded(f'to_files = ["{secret}"]')
    assert grade is Grade.NOTE
    assert finding == f"others can read {secret}, which hold secrets: chmod 600"
    secret.chmod(0o600)
    assert graded(f'to_files = ["{secret}"]')[0] is Grade.GOOD
