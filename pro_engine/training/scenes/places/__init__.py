"""Kinds of scene, one file for a family."""
