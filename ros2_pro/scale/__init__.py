"""Metres: from the samples of a sensor to the scale and shift of every frame."""
