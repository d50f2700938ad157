"""What the keys do: each a few questions and one call into the engine."""
