"""Death certificates: each cause by what the keeper and the log say, and the error that it becomes."""

import signal

import pytest

from rbee_tui.engine.errors import (
    BrokenModelError,
    CpuFeatureError,
    NoSpaceError,
    OutOfMemoryError,
    PortBusyError,
    WorkerError,
)
from rbee_tui.engine.workers import deaths
from rbee_tui.engine.workers.record import Exit

CUDA = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out "
    "of memory\nllama_model_load: error loading model: unable to allocate CUDA0 buffer"
)
CASES = [
    (Exit(signal=9, oom=True), "", "kernel_oom", "because memory ran out", OutOfMemoryError),
    (Exit(code=1), CUDA, "gpu_oom", "the GPU has not enough free memory", OutOfMemoryError),
    (Exit(signal=6), "CUDA error: out of memory\n", "gpu_oom", "the GPU", OutOfMemoryError),
    (Exit(code=1), "error: unable to allocate CPU buffer", "host_oom", "found no memory", OutOfMemoryError),
    (Exit(signal=6), "what():  std::bad_alloc", "host_oom", "found no memory", OutOfMemoryError),
    (Exit(signal=4), "", "cpu_feature", "SIGILL", CpuFeatureError),
    (
        Exit(code=1),
        "this worker needs a processor with avx2, fma, which this one has not",
        "cpu_feature",
        "this processor has no avx2, fma",
        CpuFeatureError,
    ),
    (Exit(code=1), "couldn't bind HTTP server socket", "port_busy", "its port is taken", PortBusyError),
    (Exit(code=1), "write: No space left on device", "no_space", "the disk is full", NoSpaceError),
    (
        Exit(code=1),
        "llama_model_load: error loading model: unknown model architecture: 'llamx'\x1b[2J",
        "broken_model",
        "cannot be loaded: unknown model architecture: 'llamx'\\x1b[2J",
        BrokenModelError,
    ),
    (
        Exit(code=1),
        "srv load_model: failed to load multimodal model, 'm'\nthe model could not be loaded: Failed to init",
        "broken_projector",
        "its projector cannot be loaded",
        BrokenModelError,
    ),
    (
        Exit(code=1),
        "llama-cpp-python shows pictures only to models with a chat template; it serves",
        "broken_projector",
        "its projector cannot be loaded: llama-cpp-python shows pictures only to models with a chat template",
        BrokenModelError,
    ),
    (Exit(signal=11), "error loading model: a lie", "signal", "it was ended by SIGSEGV", WorkerError),
    (Exit(signal=35), "", "signal", "it was ended by signal 35", WorkerError),
    (Exit(code=7), "nothing of note", "exit", "exit code 7", WorkerError),
    (Exit(error="x cannot be started: gone"), "", "not_started", "x cannot be started", WorkerError),
    (Exit(signal=15, why="idle"), "", "idle", "nobody asked it anything for 0:30", WorkerError),
    (Exit(signal=15, why="screen"), "", "screen", "ended with the screen", WorkerError),
    (None, "", "unseen", "nobody saw how", WorkerError),
]


class TestCause:
    """What ended it."""

    @pytest.mark.parametrize(("note", "log", "cause", "words", "kind"), CASES)
    def test_each_has_its_own_words_and_error(self, note, log, cause, words, kind):
        """Told from the note, else from the log; nothing of the log drives a terminal."""
        death = deaths.certify("tiny", "fake", note, log, context=4096, idle=30)
        assert death.cause == cause
        assert words in death.sentence
        error = deaths.error_of(death)
        assert type(error) is kind
        assert death.sentence in str(error)
        assert error.hint
        assert error.details["death"]["cause"] == cause
        assert "\x1b" not in f"{error} {death.lines}"

    def test_a_killed_one_is_no_kernel_s_unless_it_counted(self):
        """SIGKILL alone is somebody's: a certifier that blames the kernel for each fails here."""
        assert deaths.certify("tiny", "fake", Exit(signal=9), "").cause == "signal"

    def test_restarts_are_told(self):
        """How often it was tried."""
        death = deaths.certify("tiny", "fake", Exit(code=3, restarts=5, at=1.0), "")
        assert death.sentence == "it ended with exit code 3, after it was started again 5 times"
        assert (death.restarts, death.at, death.signal) == (5, "1970-01-01T00:00:01Z", None)

    def test_signals_have_names(self):
        """For scripts, too."""
        assert deaths.certify("tiny", "fake", Exit(signal=signal.SIGSEGV), "").signal == "SIGSEGV"

    def test_the_last_lines_are_kept(self):
        """And no more than a screen's worth."""
        lines = deaths.certify("tiny", "fake", Exit(code=1), "\n".join(map(str, range(100)))).lines
        assert lines == tuple(str(number) for number in range(85, 100))


class TestRetry:
    """What would fit now."""

    def test_it_is_offered(self):
        """With the command that does it."""
        death = deaths.certify("tiny", "fake", Exit(signal=9, oom=True), "", context=8192)
        again = deaths.with_retry(death, 4096)
        assert again.retry_context == 4096
        assert again.hint.endswith("rbee start tiny --context 4096")
        assert deaths.error_of(again).details["retry_context"] == 4096

    @pytest.mark.parametrize("context", [None, 0, 8192, 9000])
    def test_what_is_no_smaller_is_not(self, context):
        """The same again would end the same."""
        death = deaths.certify("tiny", "fake", Exit(signal=9, oom=True), "", context=8192)
        assert deaths.with_retry(death, context) == death
