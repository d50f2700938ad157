"""HTTP faces over the engine: they know the engine, and no screen."""
