#!/usr/bin/env python3
"""Runs llama.cpp's server out of the `site` folder beside this file, with the arguments of `llama-server`.

It is copied to where a worker is installed, and stays usable by hand and after the folder was moved or copied.
Only the standard library: the environment that installed it may be gone.
"""

import argparse
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "site"))


def main():
    """Serve a model until SIGTERM, or tell the version or the devices."""
    arguments = parse(sys.argv[1:])
    try:
        import xllamacpp
    except ImportError as error:
        worker = os.path.basename(HERE)
        sys.exit(
            f"this worker does not run on this machine ({error}); reinstall it here: rbee workers install {worker}"
        )
    if arguments.version:
        from importlib.metadata import version

        print("xllamacpp", version("xllamacpp"))
    elif arguments.list_devices:
        for device in xllamacpp.get_device_info():
            print(f"{device['name']}: {device['description']}")
    else:
        serve(xllamacpp, arguments)


def parse(words):
    """The arguments of llama-server that rbee uses."""
    parser = argparse.ArgumentParser(prog=os.path.basename(__file__), description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--list-devices", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--alias", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--cache-ram", type=int, default=0, help="MiB")
    parser.add_argument("--api-key-file")
    found = parser.parse_args(words)
    if not (found.model or found.version or found.list_devices):
        parser.error("--model is needed")
    return found


def serve(xllamacpp, arguments):
    """Load the model and answer until a signal comes."""
    wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    # Blocked before the server's threads start, so that they inherit it and the signal waits for this thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_ctx = arguments.ctx_size
    params.n_parallel = arguments.parallel
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.cache_ram_mib = arguments.cache_ram
    if arguments.alias:
        params.model_alias = {arguments.alias}
    if arguments.api_key_file:
        with open(arguments.api_key_file) as file:
            params.api_keys = [file.read().strip()]
    try:
        server = xllamacpp.Server(params)
    except Exception as error:
        sys.exit(f"the model could not be loaded: {error}")
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait(wanted)
    # The server's own end waits for streams that may never end.
    os._exit(0)


if __name__ == "__main__":
    main()
