"""The hive: the engine without a screen, behind a guarded HTTP interface on port 7835."""
