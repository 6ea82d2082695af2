"""Running a model on a picture of any size: where, in which patches, and from an image to a result."""
