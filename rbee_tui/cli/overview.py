"""`rbee` alone: what is here at one glance, and on the first run what to do next."""

from rbee_tui.cli import output
from rbee_tui.cli.options import engine
from rbee_tui.engine.artifacts import Health

_FIRST = """Nothing is here yet. Three lines, and a model answers:
  rbee pull Qwen/Qwen3-0.6B-GGUF        download one (rbee search WORDS finds others)
  rbee workers install                  install the worker that fits this machine
  rbee start qwen3-0.6b-q8_0            and then: rbee prompt qwen3-0.6b-q8_0 "Hello"
Or see all of it with a tiny model, without a network but the package index: rbee demo"""


def show(*, as_json: bool) -> None:
    """Print the models, workers, running workers and unfinished jobs."""
    house = engine("overview")
    models, workers = house.models.list(), house.workers.list()
    running = house.processes.list()
    jobs = [job for job in house.provisioner.jobs() if job.state not in ("done", "cancelled")]
    if as_json:
        output.print_json({"models": models, "workers": workers, "running": running, "jobs": jobs})
        return
    if not (models or workers or running or jobs):
        output.result(_FIRST)
        return
    from rbee_tui.cli.jobs import print_jobs  # noqa: PLC0415 - the first run does not need them
    from rbee_tui.cli.models import print_models  # noqa: PLC0415 - as above
    from rbee_tui.cli.processes import print_running  # noqa: PLC0415 - as above

    ill = sum(entry.health is not Health.OK for entry in models)
    _title("Models", f"{len(models)}" + (f", {ill} not well" if ill else ""))
    if models:
        print_models(models)
    _title("Workers", f"{len(workers)} installed, {len(running)} running")
    if running:
        print_running(running)
    if jobs:
        _title("Downloads", f"{len(jobs)}")
        print_jobs(jobs)


def note_refusal(reason: str) -> None:
    """Say why the overview is printed and no screen opened, where somebody may have wanted one."""
    output.note(f"rbee: {reason}\n  -> this is the overview; rbee --help lists what else can be asked")


def _title(text: str, figures: str) -> None:
    output.result(f"{output.paint(text, 'bold')}  {figures}")
