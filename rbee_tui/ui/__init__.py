"""The screen: panes over the engine."""
