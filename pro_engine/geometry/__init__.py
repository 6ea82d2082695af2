"""The one place for the maths: cameras, scale and shift, edges, clouds, meshes, colours. numpy and OpenCV only."""
