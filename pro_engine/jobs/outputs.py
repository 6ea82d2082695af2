"""What a job writes for a photo or a video, file by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pro_engine.io.depth_formats import pfm_side_file
from pro_engine.io.mesh import mesh_side_files


@dataclass(frozen=True)
class Output:
    """A file to write: what it holds ("disparity", "depth", "normals", "preview", "picture", "mask", "alpha",
    "kept", "mesh", "cloud", "view"), its format and its place."""

    kind: str
    format: str
    path: Path
    layered: bool = False  # a mesh of two layers

    @property
    def files(self) -> tuple[Path, ...]:
        """The file and those that belong to it, which lie beside it."""
        if self.format in ("obj", "usdc"):
            return self.path, *mesh_side_files(self.path, layered=self.layered)
        return (self.path, pfm_side_file(self.path)) if self.format == "pfm" else (self.path,)

    @property
    def maybe(self) -> tuple[Path, ...]:
        """Those of `files` that a result may lack: the texture of what is behind, where nothing is."""
        return self.files[-1:] if self.layered and self.format in ("obj", "usdc") else ()

    def summary(self) -> dict[str, str]:
        """Plain values for the JSON summary."""
        return {"kind": self.kind, "format": self.format, "path": str(self.path)}
