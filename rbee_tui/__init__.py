"""rbee: the keyboard cockpit for machines that run language models."""

__version__ = "0.2.0"
