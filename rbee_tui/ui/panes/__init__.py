"""The panes of the main screen: models, workers, downloads."""
