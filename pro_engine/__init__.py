"""PRO: high-resolution depth from one photo.

The names listed in `__all__` are the public API; everything else may change without notice. Names are looked up when
they are first used, so `import pro_engine` costs next to nothing and pulls in neither torch nor OpenCV.

    import pro_engine as pro

    image, intrinsics = pro.load_image("photo.jpg")
    result = pro.load_model("compact").infer(image, intrinsics=intrinsics)
    pro.save_depth("photo.npz", result.disparity, quantity="disparity")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pro_engine.errors import (
        CancelledError,
        DependencyError,
        DeviceError,
        FileError,
        InputError,
        ProEngineError,
        ScaleUnknownError,
        WeightsError,
    )
    from pro_engine.geometry.camera import project, unproject
    from pro_engine.geometry.cloud import depth_to_cloud
    from pro_engine.geometry.color import colorize
    from pro_engine.geometry.depth import depth_edges, disparity_to_depth, fit_scale_shift, range_scale_shift
    from pro_engine.geometry.flying import flying_points
    from pro_engine.geometry.ground import GroundFit, GroundPlane, down_vector, ground_plane, ground_scale_shift
    from pro_engine.geometry.mesh import depth_to_mesh
    from pro_engine.geometry.normals import depth_to_normals
    from pro_engine.geometry.sphere import sphere_to_cloud, sphere_to_mesh
    from pro_engine.geometry.surface import depth_to_layers, place_sky
    from pro_engine.inference.cost import Cost, expected_cost
    from pro_engine.inference.load import load_model
    from pro_engine.inference.panorama import infer_panorama
    from pro_engine.inference.predictor import DepthPredictor
    from pro_engine.inference.video import ScaleHold, VideoPredictor
    from pro_engine.io.cloud import save_cloud
    from pro_engine.io.depth import load_depth, save_depth
    from pro_engine.io.image import load_image, read_photo
    from pro_engine.io.mesh import save_mesh
    from pro_engine.io.normals import save_normals
    from pro_engine.options import InferenceOptions, ModelOptions, OptionError
    from pro_engine.types import DepthResult, Intrinsics, LayeredMesh, LoadedPhoto, Mesh, Plate, PointCloud, ScaleShift

__version__ = "0.2.0"

_HOMES = {
    "errors": (
        "CancelledError",
        "DependencyError",
        "DeviceError",
        "FileError",
        "InputError",
        "ProEngineError",
        "ScaleUnknownError",
        "WeightsError",
    ),
    "geometry.camera": ("project", "unproject"),
    "geometry.cloud": ("depth_to_cloud",),
    "geometry.color": ("colorize",),
    "geometry.depth": ("depth_edges", "disparity_to_depth", "fit_scale_shift", "range_scale_shift"),
    "geometry.flying": ("flying_points",),
    "geometry.ground": ("GroundFit", "GroundPlane", "down_vector", "ground_plane", "ground_scale_shift"),
    "geometry.mesh": ("depth_to_mesh",),
    "geometry.normals": ("depth_to_normals",),
    "inference.cost": ("Cost", "expected_cost"),
    "geometry.sphere": ("sphere_to_cloud", "sphere_to_mesh"),
    "geometry.surface": ("depth_to_layers", "place_sky"),
    "inference.load": ("load_model",),
    "inference.panorama": ("infer_panorama",),
    "inference.predictor": ("DepthPredictor",),
    "inference.video": ("ScaleHold", "VideoPredictor"),
    "io.cloud": ("save_cloud",),
    "io.depth": ("load_depth", "save_depth"),
    "io.image": ("load_image", "read_photo"),
    "io.mesh": ("save_mesh",),
    "io.normals": ("save_normals",),
    "options": ("InferenceOptions", "ModelOptions", "OptionError"),
    "types": ("DepthResult", "Intrinsics", "LayeredMesh", "LoadedPhoto", "Mesh", "Plate", "PointCloud", "ScaleShift"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CancelledError",
    "Cost",
    "DependencyError",
    "DepthPredictor",
    "DepthResult",
    "DeviceError",
    "FileError",
    "GroundFit",
    "GroundPlane",
    "InferenceOptions",
    "InputError",
    "Intrinsics",
    "LayeredMesh",
    "LoadedPhoto",
    "Mesh",
    "ModelOptions",
    "OptionError",
    "Plate",
    "PointCloud",
    "ProEngineError",
    "ScaleHold",
    "ScaleShift",
    "ScaleUnknownError",
    "VideoPredictor",
    "WeightsError",
    "__version__",
    "colorize",
    "depth_edges",
    "depth_to_cloud",
    "depth_to_layers",
    "depth_to_mesh",
    "depth_to_normals",
    "disparity_to_depth",
    "down_vector",
    "expected_cost",
    "fit_scale_shift",
    "flying_points",
    "ground_plane",
    "ground_scale_shift",
    "infer_panorama",
    "load_depth",
    "load_image",
    "load_model",
    "place_sky",
    "project",
    "range_scale_shift",
    "read_photo",
    "save_cloud",
    "save_depth",
    "save_mesh",
    "save_normals",
    "sphere_to_cloud",
    "sphere_to_mesh",
    "unproject",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` on its first use and keep the name here."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, whether or not they were used yet."""
    return sorted(__all__)
