"""Widgets that draw lines, each only where it changed."""
