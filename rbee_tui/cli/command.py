"""What `rbee` takes: its verbs with the modules that have them, and what it does without one."""

import click

import rbee_tui
from rbee_tui.cli.groups import LazyGroup

_EPILOG = """\b
Exit codes:
    0  done                        6  the Hub refuses this user
    1  failed                      7  no space left
    2  the request makes no sense  8  bytes do not match their hash
    3  there is no such thing      9  a worker failed
    4  busy, or it must not be    10  the job was paused
    5  the network, or the Hub    11  the job was cancelled
  130  interrupted               141  nobody reads the output any more
  143  ended by a signal

\b
Results go to standard output, everything else to standard error. --json works
after every verb that prints; sizes are integers in bytes.

\b
Environment:
  RBEE_HOME    where everything lies (default ~/.cache/rbee)
  HF_ENDPOINT, HF_TOKEN, HF_HOME, HTTP(S)_PROXY, NO_PROXY, SSL_CERT_FILE and
  NO_COLOR mean what they mean elsewhere.
"""


@click.group(
    name="rbee",
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
    home="rbee_tui.cli",
    verbs={
        "search": ("hub", "Find repositories on the Hub."),
        "files": ("files", "Show a repository's card, revisions and choices."),
        "token": ("token", "Say which token of yours the Hub gets; enter or forget one."),
        "pull": ("hub", "Download a model: resumed, verified, shown per file."),
        "fit": ("fit", "Tell what fits this machine, before it is downloaded."),
        "models": ("models", "List, show, verify, import and remove models."),
        "workers": ("workers", "List, install, register and remove workers."),
        "run": ("run", "Ask a model or talk with it; brings what is missing."),
        "start": ("start", "Start a worker on a model; returns when it is ready."),
        "presets": ("start", "Show and forget options that are saved for a model's starts."),
        "pin": ("start", "Let a worker stay, however long nobody asks it."),
        "prompt": ("processes", "Ask a running model, and stream its answer."),
        "ps": ("processes", "List the workers that run."),
        "logs": ("processes", "Show a worker's log."),
        "stop": ("processes", "Stop a model's worker."),
        "jobs": ("jobs", "List downloads; take one from a process that hangs."),
        "pause": ("jobs", "Pause a download."),
        "resume": ("jobs", "Go on with a download."),
        "cancel": ("jobs", "End a download and remove what it brought."),
        "retry": ("jobs", "Try a failed download again."),
        "settings": ("settings", "Show and change what is settled for all of rbee here."),
        "hardware": ("hardware", "Show what this machine has."),
        "disk": ("disk", "Show what takes room on the disk, and what removing it frees."),
        "demo": ("demo", "See all of it work: a small Hub, a tiny model, a real worker."),
        "hive": ("hive", "Be this machine's hive: no screen, an HTTP interface."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
)
@click.version_option(rbee_tui.__version__, "--version", message="rbee %(version)s")
@click.option("--json", "as_json", is_flag=True, help="With no verb: print the overview as JSON.")
@click.option("--plain", is_flag=True, help="With no verb: print the overview instead of opening the screen.")
@click.pass_context
def rbee(context: click.Context, *, as_json: bool, plain: bool) -> None:
    """Find, download, verify, start, try and stop language models on this machine.

    Alone it opens the screen; where there is no terminal it prints what is here.
    """
    if context.invoked_subcommand is None:
        from rbee_tui.cli.alone import alone  # noqa: PLC0415 - a verb does not pay for it

        raise click.exceptions.Exit(alone(as_json=as_json, plain=plain))
