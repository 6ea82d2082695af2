"""Procedural scenes with exact depth: built by `kinds`, ray-traced by `embree`, written to disk by `generate`."""
