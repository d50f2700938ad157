#!/usr/bin/env python3
"""Runs llama.cpp's server out of the `site` folder beside this file, with the arguments of `llama-server`.

It is copied to where a worker is installed, and stays usable by hand and after the folder was moved or copied.
Without a `site` folder it serves what its own interpreter can import. Only the standard library: the environment
that installed it may be gone.
"""

import argparse
import ctypes
import os
import signal
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SITE = os.path.join(HERE, "site")
NEEDED = {"avx2", "fma", "f16c"}
POOLING = {"mean": 1, "cls": 2, "last": 3}
LOG_SECONDS = 0.5
if os.path.isdir(SITE):
    sys.path.insert(0, SITE)


def main():
    """Serve a model until a signal comes, or tell the version or the devices."""
    arguments = parse(sys.argv[1:])
    runtime = {"xllamacpp": Xllamacpp, "llama-cpp-python": LlamaCppPython}[arguments.runtime]
    if arguments.version:
        print(arguments.runtime, version(runtime.package))
        return
    refuse_old_processor()
    try:
        server = runtime()
    except (ImportError, OSError, RuntimeError) as error:
        sys.exit(f"this worker does not run on this machine: {error}; {again()}")
    if arguments.devices:
        for line in server.devices():
            print(line)
    else:
        server.serve(arguments, read_key(arguments.api_key_file))


def parse(words):
    """The arguments of llama-server that rbee uses."""
    parser = argparse.ArgumentParser(prog=os.path.basename(__file__), description=__doc__.splitlines()[0])
    named = "llama-cpp-python" if "llama-cpp-python" in os.path.basename(__file__) else "xllamacpp"
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--devices", "--list-devices", action="store_true")
    parser.add_argument("--runtime", choices=["xllamacpp", "llama-cpp-python"], default=named)
    parser.add_argument("--model", metavar="FILE")
    parser.add_argument("--alias", default="", help="what clients call the model")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and says which")
    parser.add_argument("--ctx-size", type=int, default=0, help="tokens; 0 is what the model was trained for")
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--cache-ram", type=int, default=0, help="MiB of host memory for prompts")
    parser.add_argument("--n-gpu-layers", type=int, default=None, help="on the GPU; all of them by itself")
    parser.add_argument("--embeddings", action="store_true", help="answer with embeddings, too")
    parser.add_argument("--pooling", choices=list(POOLING), default="mean")
    parser.add_argument("--mmproj", metavar="FILE", help="the projector, with which the model sees or hears")
    parser.add_argument("--no-mmproj-offload", action="store_true", help="the projector stays off the GPU")
    parser.add_argument("--metrics", action="store_true", help="tell tokens and requests at /metrics")
    parser.add_argument("--api-key-file", metavar="FILE", help="- reads the key from standard input")
    found = parser.parse_args(words)
    if not (found.model or found.version or found.devices):
        parser.error("--model is needed")
    return found


def version(package):
    """The version of an installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        sys.exit(f"{package} is not here; {again()}")


def again():
    """What to do where a worker does not run."""
    if os.path.isdir(SITE):
        return f"reinstall it here: rbee workers install {os.path.basename(os.path.dirname(HERE))}"
    return f"{sys.executable} cannot import it (any more); rbee workers install llm-worker-cpu brings one"


def refuse_old_processor():
    """Say what the processor lacks: the wheel itself would die of an illegal instruction."""
    if sys.platform != "linux" or os.uname().machine != "x86_64" or not os.path.isdir(SITE):
        return
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((set(line.split()) for line in file if line.startswith("flags")), NEEDED)
    except OSError:
        return
    lacking = sorted(NEEDED - flags)
    if lacking:
        sys.exit(f"this worker needs a processor with {', '.join(lacking)}, which this one has not")


def read_key(path):
    """The API key; None without one."""
    if not path:
        return None
    if path == "-":
        return sys.stdin.readline().strip()
    with open(path) as file:
        return file.read().strip()


class Xllamacpp:
    """llama.cpp's own HTTP server inside a wheel."""

    package = "xllamacpp"

    def __init__(self):
        import xllamacpp

        self.module = xllamacpp

    def devices(self):
        """A line for each device that the runtime sees."""
        for device in self.module.get_device_info():
            yield f"{device['name']}: {device['description']}"

    def serve(self, arguments, key):
        """Load the model and answer until a signal comes; the port is open before the model is loaded."""
        params = self.module.CommonParams()
        params.model.path = arguments.model
        params.hostnames = [arguments.host]
        params.port = arguments.port
        params.n_ctx = arguments.ctx_size
        params.n_parallel = arguments.parallel
        params.cpuparams.n_threads = arguments.threads
        params.cpuparams_batch.n_threads = arguments.threads
        params.cache_ram_mib = arguments.cache_ram
        params.endpoint_metrics = arguments.metrics
        if arguments.n_gpu_layers is not None:
            # What fits was counted before: to try it out again would load the model twice.
            params.n_gpu_layers, params.fit_params = arguments.n_gpu_layers, False
        if arguments.embeddings:
            params.embedding = True
            params.pooling_type = POOLING[arguments.pooling]
        if arguments.mmproj:
            params.mmproj.path = arguments.mmproj
            params.mmproj_use_gpu = not arguments.no_mmproj_offload
        if arguments.alias:
            params.model_alias = {arguments.alias}
        if key:
            params.api_keys = [key]
        end_at_signals()
        try:
            server = self.module.Server(params)
        except Exception as error:
            # A thread of the runtime's own writes its log, and only the log tells what was wrong.
            time.sleep(LOG_SECONDS)
            sys.exit(f"the model could not be loaded: {error}")
        print(f"listening on {server.listening_address}", flush=True)
        while True:
            signal.pause()


class LlamaCppPython:
    """The server of llama-cpp-python, with its traps taken out."""

    package = "llama-cpp-python"

    def __init__(self):
        import llama_cpp
        import llama_cpp.server.app
        import llama_cpp.server.settings
        import uvicorn

        self.llama, self.uvicorn = llama_cpp, uvicorn

    def devices(self):
        """It tells none itself, but ggml below it does; with one that does not, whether a GPU is used at all."""
        try:
            yield from ggml_devices()
        except (ImportError, AttributeError):
            gpu = self.llama.llama_supports_gpu_offload()
            yield "GPU: as llama-cpp-python was built" if gpu else "CPU: as llama-cpp-python was built"

    def load_projector(self, arguments):
        """Load it now: by itself it comes with the first request, and whatever is wrong with it, too."""
        left_out = "it serves text only when it is started with --no-projector"
        proxy = getattr(self.llama.server.app, "_llama_proxy", None)
        model = getattr(proxy, "_current_model", None)
        handler = getattr(model, "chat_handler", None)
        if not hasattr(handler, "_init_mtmd_context"):
            sys.exit(f"this version of llama-cpp-python cannot load a projector; {left_out}")
        if not model.metadata.get("tokenizer.chat_template"):
            sys.exit(f"llama-cpp-python shows pictures only to models with a chat template; {left_out}")
        handler.use_gpu = not arguments.no_mmproj_offload
        try:
            handler._init_mtmd_context(model)  # noqa: SLF001 - it offers no other way
        except ValueError as error:
            sys.exit(f"the projector could not be loaded: {error}; {left_out}")

    def serve(self, arguments, key):
        """Load the model and answer until a signal comes, one request after the other."""
        settings = self.llama.server.settings
        if arguments.embeddings:
            # Its server has no setting for it, and answers with a vector for each token where nothing is said.
            self.llama.Llama.__init__.__kwdefaults__["pooling_type"] = POOLING[arguments.pooling]
        app = self.llama.server.app.create_app(
            # By itself it cuts a running stream when a second request arrives.
            server_settings=settings.ServerSettings(
                host=arguments.host, port=arguments.port, api_key=key, interrupt_requests=False
            ),
            model_settings=[
                settings.ModelSettings(
                    model=arguments.model,
                    model_alias=arguments.alias or None,
                    n_ctx=arguments.ctx_size,
                    n_threads=arguments.threads,
                    n_threads_batch=arguments.threads,
                    # By itself it leaves a GPU alone.
                    n_gpu_layers=-1 if arguments.n_gpu_layers is None else arguments.n_gpu_layers,
                    embedding=arguments.embeddings,
                    **(
                        {"clip_model_path": arguments.mmproj, "chat_format": "mtmd"}
                        if arguments.mmproj
                        else {}
                    ),
                )
            ],
        )
        if arguments.mmproj:
            self.load_projector(arguments)
        # It would answer any web page's requests, and show its documentation without the key.
        app.user_middleware = [each for each in app.user_middleware if each.cls.__name__ != "CORSMiddleware"]
        app.router.routes = [
            # A router that was included has no path of its own.
            each
            for each in app.router.routes
            if not getattr(each, "path", "").startswith(("/docs", "/redoc", "/openapi"))
        ]
        with listen(arguments.host, arguments.port) as listener:
            host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
            print(f"listening on http://{host}:{listener.getsockname()[1]}", flush=True)
            config = self.uvicorn.Config(app, log_level="info", timeout_graceful_shutdown=3)
            self.uvicorn.Server(config).run(sockets=[listener])


def listen(host, port):
    """A listening socket; the wildcard of IPv6 takes IPv4 as well, as it does in llama.cpp's server."""
    six = ":" in host
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (host, port), family=socket.AF_INET6 if six else socket.AF_INET, dualstack_ipv6=both
    )


def ggml_devices():
    """A line for each device of the ggml that llama-cpp-python brings."""
    from llama_cpp._ggml import libggml

    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    for told in (libggml.ggml_backend_dev_name, libggml.ggml_backend_dev_description):
        told.argtypes, told.restype = [ctypes.c_void_p], ctypes.c_char_p
    for at in range(libggml.ggml_backend_dev_count()):
        device = libggml.ggml_backend_dev_get(at)
        name, about = libggml.ggml_backend_dev_name(device), libggml.ggml_backend_dev_description(device)
        yield f"{name.decode()}: {about.decode(errors='replace')}"


def end_at_signals():
    """End at once: there is nothing to save, and a stream that never ends must not hold it up."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    main()
