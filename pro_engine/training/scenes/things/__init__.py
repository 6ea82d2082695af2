"""Makers of things, from cups to houses."""
