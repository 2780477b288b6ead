"""Readers of interaction and item files, one module a format."""
