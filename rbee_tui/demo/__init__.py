"""A small Hub on loopback and the tiny model that it serves: for `rbee demo`, and for the tests."""
