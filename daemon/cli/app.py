"""What can be typed. Each command's work is in a module of its own, imported when it runs: ``run`` stays small."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import typer

from daemon.cli import exits
from daemon.control import Refused
from daemon.errors import ConfigError, HistoryLost, TranscribedError
from daemon.log import escape
from daemon.options import FORMATS, Priority, Quality, Task
from storage.errors import StorageError
from storage.records import JobState

app = typer.Typer(
    name="transcribed",
    help="Drop a recording in a folder; the transcript appears beside it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
db = typer.Typer(help="The database of the job history.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")
alerts = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(alerts, name="alerts")
web_user = typer.Typer(help="Who may log in to the pages.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(web_user, name="web-user")
web_token = typer.Typer(help="Which programs may use the API.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(web_token, name="web-token")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="The configuration file; default: ./transcribed.toml or the one in /etc."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Since = Annotated[str | None, typer.Option(metavar="WHEN", help="From then on: 2026-03-01, 7d, 12h.")]
ExportFormat = Literal["csv", "jsonl"]
JobIds = Annotated[
    list[int], typer.Argument(metavar="ID...", help="Numbers of jobs, as `transcribed jobs` shows them.")
]


@app.command(epilog="Example: transcribed run --config /etc/transcribed/transcribed.toml")
def run(config: ConfigFile = None) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C."""
    from daemon.cli import run as command

    command.run(config)


@app.command(epilog="Example: transcribed transcribe --language de interview.mp3")
def transcribe(
    recordings: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Recordings, or folders of them.")],
    config: ConfigFile = None,
    language: Annotated[str | None, typer.Option(help="Language spoken, such as en or de; default: detected.")] = None,
    task: Annotated[Task | None, typer.Option(help="Transcribe, translate to English, or both.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name or folder.")] = None,
    quality: Annotated[Quality | None, typer.Option(help="How much work is spent on each window.")] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, max=20, help="Hypotheses kept while decoding.")] = None,
    hotwords: Annotated[str | None, typer.Option(help="Names and terms to listen for.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Text that precedes the recording, for style and spelling.")
    ] = None,
    multilingual: Annotated[bool, typer.Option("--multilingual", help="Detect the language of every window.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Times for every word, in the JSON.")] = False,
    formats: Annotated[
        list[str] | None, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}; repeatable.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Where to write; default: beside each recording.")] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the text and write no file.")] = False,
) -> None:
    """Transcribe recordings now, without a daemon. Never overwrites a file."""
    from daemon.cli import transcribe as command

    given = {
        "language": language,
        "task": task,
        "model": model,
        "quality": quality,
        "beam_size": beam_size,
        "multilingual": multilingual or None,
        "hotwords": hotwords,
        "initial_prompt": prompt,
        "word_timestamps": words or None,
        "formats": tuple(formats) if formats else None,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    raise typer.Exit(command.run(recordings, config, overrides, output_dir, stdout=stdout))


@app.command(epilog="Example: transcribed jobs --state failed --json")
def jobs(
    config: ConfigFile = None,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the job history, newest first."""
    from daemon.cli import jobs as command

    command.list_jobs(config, state or [], limit, as_json=as_json)


@app.command(epilog="Example: transcribed job 12")
def job(
    number: Annotated[int, typer.Argument(metavar="ID")], config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show everything about one job."""
    from daemon.cli import jobs as command

    command.show_job(config, number, as_json=as_json)


@app.command(epilog="Example: transcribed status || echo 'look at it'")
def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show queue, engine, inboxes and open alerts. Exit code 0: all is well; 1: no daemon, or something is wrong."""
    from daemon.cli import status as command

    raise typer.Exit(command.run(config, as_json=as_json))


@app.command(epilog="Example: ssh -t server transcribed top")
def top(config: ConfigFile = None) -> None:
    """Show queue, jobs, device and alerts, again and again. q or Ctrl-C ends it."""
    from daemon.cli import top as command

    raise typer.Exit(command.run(config))


@app.command(epilog="Example: transcribed explain /srv/inbox/meeting.mp4")
def explain(
    path: Annotated[Path, typer.Argument(help="A file, there or not.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what the daemon thinks of a file, and which rule decided."""
    from daemon.cli import explain as command

    command.run(config, path, as_json=as_json)


@app.command(epilog="Example: transcribed retry 12 13")
def retry(numbers: JobIds, config: ConfigFile = None) -> None:
    """Queue jobs again that failed, were cancelled, quarantined, or wait."""
    from daemon.cli import change as command

    raise typer.Exit(command.retry(config, numbers))


@app.command(epilog="Example: transcribed priority high 12")
def priority(
    level: Annotated[Priority, typer.Argument(metavar="high|normal|low", help="Before all others, as usual, after.")],
    numbers: JobIds,
    config: ConfigFile = None,
) -> None:
    """Put jobs of the queue before all others, or after them."""
    from daemon.cli import change as command

    raise typer.Exit(command.prioritize(config, level, numbers))


@app.command(epilog="Example: transcribed cancel 14")
def cancel(numbers: JobIds, config: ConfigFile = None) -> None:
    """Cancel jobs that wait, are queued or run. The recordings stay."""
    from daemon.cli import change as command

    raise typer.Exit(command.cancel(config, numbers))


@app.command(epilog="Example: transcribed redo --where \"model = 'base' AND outcome = 'partial'\" --dry-run")
def redo(
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[ID...]", help="Numbers of jobs.")] = None,
    config: ConfigFile = None,
    where: Annotated[str | None, typer.Option(help="A condition on v_jobs, in SQL; see docs/sql.md.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    over_corrections: Annotated[
        bool, typer.Option("--over-corrections", help="Also where a person corrected the text.")
    ] = False,
) -> None:
    """Transcribe again, as configured now. Earlier texts stay in the history, edited files on the disk."""
    from daemon.cli import change as command

    code = command.redo(config, numbers or [], where, yes=yes, dry_run=dry_run, over_corrections=over_corrections)
    raise typer.Exit(code)


@app.command(epilog="Example: transcribed search 'annual budget' --since 30d")
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="Words, a 'phrase in quotes', or begin*.")],
    config: ConfigFile = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many lines, newest first.")] = 20,
    folder: Annotated[Path | None, typer.Option(help="Only recordings in this folder and below.")] = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Find who said it, and when: lines of transcripts with all the words. Exit code 1 if there are none."""
    from daemon.cli import search as command

    raise typer.Exit(command.run(config, words, limit, folder, since, as_json=as_json))


@app.command(epilog="Example: transcribed suspects --since 7d --folder /srv/inbox/anna")
def suspects(
    config: ConfigFile = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many places, newest first.")] = 50,
    folder: Annotated[Path | None, typer.Option(help="Only recordings in this folder and below.")] = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Show where to listen: the places of recordings that their transcripts may be wrong about, and why."""
    from daemon.cli import suspects as command

    raise typer.Exit(command.run(config, limit, folder, since, as_json=as_json))


@app.command(epilog="Example: transcribed export --since 2026-01-01 > history.csv")
def export(
    config: ConfigFile = None,
    format: Annotated[ExportFormat, typer.Option(help="csv is safe to open in a spreadsheet, jsonl is exact.")] = "csv",
    view: Annotated[str, typer.Option(help="A view of docs/sql.md.")] = "v_history",
    since: Since = None,
) -> None:
    """Print a view of the history, for other programs."""
    from daemon.cli import export as command

    command.run(config, format, view, since)


@app.command(epilog="Example: transcribed prune --dry-run")
def prune(config: ConfigFile = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Let go now what [history] says is old. The daemon does so every hour; recordings and transcripts stay."""
    from daemon.cli import prune as command

    command.run(config, dry_run=dry_run, as_json=as_json)


@alerts.callback(epilog="Example: transcribed alerts --all --limit 10")
def show_alerts(
    context: typer.Context,
    config: ConfigFile = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too, newest first.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what is wrong now, since when, and what to do; or send a test message."""
    if context.invoked_subcommand is None:
        from daemon.cli import alerts as command

        command.show(config, limit, everything=everything, as_json=as_json)


@alerts.command("test", epilog="Example: sudo -u transcribed transcribed alerts test")
def try_alerts(config: ConfigFile = None) -> None:
    """Send a test message to each address now. Exit code 1 if one did not take it."""
    from daemon.cli import alerts as command

    raise typer.Exit(command.test(config))


@app.command(epilog="Example: transcribed metrics gpu --since 7d --plot week.png")
def metrics(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Figures, or how their names begin: gpu, host_cpu.")
    ] = None,
    config: ConfigFile = None,
    since: Annotated[str, typer.Option(metavar="WHEN", help="From then on: 2026-03-01, 7d, 12h.")] = "24h",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw them, with the alerts: a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the monitor measured: last, mean and worst of each figure. Exit code 1 if there is nothing."""
    from daemon.cli import metrics as command

    raise typer.Exit(command.run(config, names or [], since, plot, as_json=as_json))


@app.command("config", epilog="Example: transcribed config --json")
def show_config(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print the effective configuration, and where each value came from."""
    from daemon.cli import config as command

    command.run(config, as_json=as_json)


@app.command(epilog="Example: sudo -u transcribed transcribed doctor")
def doctor(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the installation: model, device, inboxes, permissions, database. Exit code 1 if something is broken."""
    from daemon.cli import doctor as command

    raise typer.Exit(command.run(config, as_json=as_json))


@db.command("path", epilog='Example: sqlite3 -readonly "$(transcribed db path)"')
def db_path(
    config: ConfigFile = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="Where the figures of the monitor are.")] = False,
) -> None:
    """Print where the database is; docs/sql.md says what can be asked of it."""
    from daemon.cli.common import database, figures, loaded

    print((figures if metrics else database)(loaded(config).config))


WebRole = Annotated[Literal["read", "act"], typer.Option(help="read: look; act: change things and upload too.")]
WebName = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and . _ @ + -")]


def _access() -> ModuleType:
    from daemon import web

    if not web.installed():
        raise ConfigError("the pages are not installed: pip install 'transcribed[web]'")
    from daemon.cli import access

    return access


@web_user.command("add", epilog="Example: sudo -u transcribed transcribed web-user add anna --role act")
def web_user_add(name: WebName, config: ConfigFile = None, role: WebRole = "read") -> None:
    """Let somebody log in, or give them a new password. It is asked for, or read from a pipe."""
    raise typer.Exit(_access().add_user(config, name, role))


@web_user.command("remove", epilog="Example: sudo -u transcribed transcribed web-user remove anna")
def web_user_remove(name: WebName, config: ConfigFile = None) -> None:
    """Let them in no more; where they are logged in, that ends."""
    raise typer.Exit(_access().remove(config, "user", name))


@web_user.command("list", epilog="Example: sudo -u transcribed transcribed web-user list")
def web_user_list(config: ConfigFile = None) -> None:
    """Print who may log in."""
    raise typer.Exit(_access().show(config, "user"))


@web_token.command("add", epilog="Example: sudo -u transcribed transcribed web-token add archive --role act")
def web_token_add(name: WebName, config: ConfigFile = None, role: WebRole = "read") -> None:
    """Make a token for a program and print it, this once."""
    raise typer.Exit(_access().add_token(config, name, role))


@web_token.command("remove", epilog="Example: sudo -u transcribed transcribed web-token remove archive")
def web_token_remove(name: WebName, config: ConfigFile = None) -> None:
    """Take the token of a program away."""
    raise typer.Exit(_access().remove(config, "token", name))


@web_token.command("list", epilog="Example: sudo -u transcribed transcribed web-token list")
def web_token_list(config: ConfigFile = None) -> None:
    """Print which programs have a token."""
    raise typer.Exit(_access().show(config, "token"))


def main() -> None:
    """Run what was typed. Errors for people are one line on stderr; exit codes are in the README."""
    try:
        app()
    except ConfigError as error:
        print(f"transcribed: {escape(str(error))}", file=sys.stderr)
        raise SystemExit(exits.CONFIG) from None
    except HistoryLost as error:
        print(f"transcribed: {escape(str(error))}", file=sys.stderr)
        raise SystemExit(exits.HISTORY_LOST) from None
    except (TranscribedError, StorageError, Refused) as error:
        print(f"transcribed: {escape(str(error))}", file=sys.stderr)
        raise SystemExit(exits.FAILED) from None
