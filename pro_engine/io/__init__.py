"""Files in, files out: photos, depth maps, point clouds, meshes and weights.

Each kind of file has one module with one table of writers (and readers) by suffix. Every write is atomic; every failure
is a child of `ProEngineError` whose message names the file and the next step. Heavy packages are imported by the
function that needs them.
"""
