"""Workers: what may be installed, installing it, and running it on a model."""
