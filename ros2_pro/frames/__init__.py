"""The way of a frame: newest image, model, messages, and what diagnostics say of it."""
