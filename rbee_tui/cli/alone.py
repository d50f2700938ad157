"""`rbee` without a verb: the screen, or the overview where no terminal can show it."""

from rbee_tui.ui import terminal


def alone(*, as_json: bool = False, plain: bool = False) -> int:
    """Open the screen, or print what is here; returns the exit code."""
    refusal = terminal.refusal()
    if not (as_json or plain or refusal):
        from rbee_tui.cli import screen  # noqa: PLC0415 - only the screen pays for it

        return screen.show()
    from rbee_tui.cli import overview  # noqa: PLC0415 - the screen does not pay for it

    overview.show(as_json=as_json)
    if refusal and not (as_json or plain):
        overview.note_refusal(refusal)
    return 0
