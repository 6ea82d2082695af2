"""Scenes to pictures and exact depth."""
