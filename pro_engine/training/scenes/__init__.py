"""Procedural scenes with exact depth: `kinds` builds them, `render` ray-traces them, `generate` writes them to disk."""
