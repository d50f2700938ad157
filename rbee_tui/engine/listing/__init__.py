"""Signed listings of workers: how one is made, what a client requires of one, and whom it trusts."""
