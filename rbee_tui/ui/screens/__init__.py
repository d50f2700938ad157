"""The screens: the main one, and what is asked or shown above it."""
