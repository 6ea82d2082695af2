"""Training of the base model and the refiner on rendered scenes. Nothing outside this package imports it."""
