"""The single lines of the main screen: the hardware on top, what just happened and the keys below."""

from collections.abc import Sequence

from rich.cells import cell_len

from rbee_tui.engine.hardware.reading import Gpu, Reading
from rbee_tui.engine.headroom import warning
from rbee_tui.engine.text import clean, memory, size
from rbee_tui.ui.glyphs import Glyphs
from rbee_tui.ui.keys import Action, Situation
from rbee_tui.ui.telling import Event
from rbee_tui.ui.widgets.drawn import Drawn, DrawnLines, fit, width_of

_HISTORY = 4
_GIB = 1 << 30


class HardwareLine(DrawnLines):
    """Processor, memory, GPUs and disk in one line; what does not fit is left out, from the right."""

    def __init__(self, glyphs: Glyphs, host: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._host = host
        self._reading: Reading | None = None
        self._promised = 0
        self._past: dict[str, list[float]] = {}

    def show(self, reading: Reading | None, promised: int) -> None:
        """Show a reading; `promised` bytes of the free disk are spoken for by downloads."""
        if reading is not None and reading is not self._reading:
            self._remember("cpu", reading.cpu.percent)
            for gpu in reading.gpus:
                self._remember(gpu.label, gpu.utilization)
        self._reading, self._promised = reading, promised
        self.redraw()

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The one line: in full, or where that is too much in short, as far as there is room."""
        del height
        line = self._joined([("   ", "")], self._parts(full=True, words=True))
        if width_of(line) > width:
            line = self._joined([("   ", "")], self._parts(full=True, words=False))
        if width_of(line) > width:
            line = self._joined([("  ", "")], self._parts(full=False, words=False), width)
        return [[*line, (" " * max(0, width - width_of(line)), "")]]

    def _joined(self, gap: Drawn, parts: list[Drawn], width: int = 1 << 16) -> Drawn:
        line: Drawn = [(" rbee", "strong")]
        for part in parts:
            # A name and what it says first; what it says beside that may be left out alone.
            least = min(2, len(part))
            shorter = (part[:count] for count in range(len(part), least - 1, -1))
            room = width - width_of(line) - width_of(gap)
            fitting = next((each for each in shorter if width_of(each) <= room), None)
            line += [*gap, *fitting] if fitting else []
        return line

    def _parts(self, *, full: bool, words: bool) -> list[Drawn]:
        """In the order of their importance; the disk before the second GPU."""
        reading = self._reading
        host: list[Drawn] = [[(self._host, "quiet")]] if full else []
        if reading is None:
            return [*host, [("reading the hardware", "quiet")]]
        gpus = [self._gpu(gpu, full=full) for gpu in reading.gpus]
        parts = [
            self._cpu(reading, full=full),
            self._ram(reading),
            *gpus[:1],
            self._disk(reading, words=words),
        ]
        return [*host, *parts, *gpus[1:]]

    def _cpu(self, reading: Reading, *, full: bool) -> Drawn:
        percent = reading.cpu.percent
        said = f"{percent:3.0f}%" if percent is not None else "  -%"
        return [("CPU ", "quiet"), *([(self._meter("cpu"), "accent")] if full else []), (said, "")]

    def _ram(self, reading: Reading) -> Drawn:
        total = reading.memory.total
        used = total - reading.memory.available
        return [("RAM ", "quiet"), (_of(used, total), "")]

    def _gpu(self, gpu: Gpu, *, full: bool) -> Drawn:
        if gpu.error:
            return [(f"{gpu.label} ", "quiet"), (f"{self._glyphs.wrong} {clean(gpu.error)[:20]}", "wrong")]
        line: Drawn = [(f"{gpu.label} ", "quiet")]
        if gpu.utilization is not None:
            line += [(self._meter(gpu.label), "accent")] if full else []
            line += [(f"{gpu.utilization:3d}% ", "")]
        line += [(_of(gpu.memory_used, gpu.memory_total), "")]
        if gpu.temperature is not None and full:
            line += [(f" {gpu.temperature}°C", "quiet")]
        return line

    def _disk(self, reading: Reading, *, words: bool) -> Drawn:
        disk = reading.disk
        style = "wrong" if warning(disk.free, disk.total, self._promised) else ""
        line: Drawn = [("disk ", "quiet"), (f"{size(disk.free)} free{' low' if style else ''}", style)]
        if not self._promised:
            return line
        promised = f" ({size(self._promised)} promised)" if words else f" (-{size(self._promised)})"
        return [*line, (promised, "busy")]

    def _remember(self, name: str, value: float | None) -> None:
        if value is not None:
            self._past[name] = [*self._past.get(name, []), float(value)][-_HISTORY:]

    def _meter(self, name: str) -> str:
        steps = self._glyphs.steps
        past = self._past.get(name, [])
        drawn = "".join(steps[min(len(steps) - 1, int(each * len(steps) / 100))] for each in past)
        return drawn.rjust(_HISTORY)


def _of(used: int, total: int) -> str:
    """`11.2/24.0 GiB`; both in GiB, so that they can be compared at one glance."""
    if total >= _GIB:
        return f"{used / _GIB:.1f}/{total / _GIB:.1f} GiB"
    return f"{memory(used)}/{memory(total)}"


class Narration(DrawnLines):
    """What just happened, in one line."""

    def __init__(self, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._said: Drawn = []
        self._more = ""

    def say(self, event: Event | None) -> None:
        """Show it with its time, or nothing; that there is more to read is never cut."""
        self._said, self._more = [], ""
        if event is not None:
            mark = {"ok": self._glyphs.ok, "wrong": self._glyphs.wrong}.get(event.style, self._glyphs.dash)
            self._said = [
                (f" {event.clock} ", "quiet"),
                (f"{mark} ", event.style),
                (event.text, event.style if event.style == "wrong" else ""),
            ]
            self._more = "  (e: what to do)" if event.hint or event.log else ""
        self.redraw()

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The one line; what does not fit can be read among the events."""
        del height
        *first, last = self._said or [("", "")]
        room = max(0, width - width_of(first) - cell_len(self._more) - 1)
        text = last[0] if cell_len(last[0]) <= room else fit(last[0], room, self._glyphs.more)
        line: Drawn = [*first, (text, last[1]), (self._more, "quiet")]
        return [[*line, (" " * max(0, width - width_of(line)), "")]]


class KeyLine(DrawnLines):
    """The keys that do something here; help and quit always, the others as far as there is room."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._keys: list[tuple[str, str]] = []
        self._always: list[tuple[str, str]] = []

    def show(self, actions: Sequence[Action], situation: Situation) -> None:
        """Offer these actions."""
        words = [(action.shown, action.word(situation)) for action in actions]
        self.show_words(
            [word for word in words if word[0] not in ("?", "q", ":")],
            [*([("Esc", "Clear")] if situation.marked else []), *(w for w in words if w[0] in ("?", "q"))],
        )

    def show_words(self, keys: Sequence[tuple[str, str]], always: Sequence[tuple[str, str]] = ()) -> None:
        """Offer keys with their words."""
        self._keys, self._always = list(keys), list(always)
        self.redraw()

    def compose_lines(self, width: int, height: int) -> list[Drawn]:
        """The one line."""
        del height
        room = width - sum(_width(pair) for pair in self._always) - 1
        line: Drawn = [(" ", "")]
        for pair in self._keys:
            if width_of(line) + _width(pair) > room:
                break
            line += _pair(pair)
        for pair in self._always:
            line += _pair(pair)
        return [[*line, (" " * max(0, width - width_of(line)), "")]]


def _pair(pair: tuple[str, str]) -> Drawn:
    key, word = pair
    return [(key, "key"), (f" {word}  ", "")]


def _width(pair: tuple[str, str]) -> int:
    return cell_len(pair[0]) + cell_len(pair[1]) + 3
