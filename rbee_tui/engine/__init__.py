"""The in-process catalog engine: a library that knows no screen and no server."""
