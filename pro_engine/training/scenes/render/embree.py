"""Ray tracer for training pictures: embree finds the surfaces, numpy shades them, depth is exact.

The shading is a cheap stand-in for global illumination: direct light with one jittered shadow ray per light, two short
rays for light from the surroundings (sky, ground, or the colour of what they meet), an edge-aware filter against the
noise, and one more ray for glass, mirrors and gloss. Edges of the picture are smoothed with extra rays; depth never is.
"""

from __future__ import annotations

import itertools

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene as RayTree
from numpy.typing import NDArray

from ..parts.scene import Material, Scene, SceneCamera
from ..parts.textures import albedo, box_axes, mean_albedo, slopes
from .antialias import NO_HITS, Hits, Jitter, Screen, joined
from .camera_view import Rendered, camera_intrinsics, pixel_directions
from .lighting import Lighting
from .sky import sky_radiance
from .triangles import dot, flatten, sign, unit

Array = NDArray[np.float32]
Index = NDArray[np.integer]

BOUNCE = 0.45
"""Share of the ambient light that a nearby surface is taken to be lit by."""
GLOSS = 0.02
"""Reflectance from which a surface gets a reflection ray."""
METAL = 0.5
"""Reflectance from which a reflection takes the surface's colour."""
EDGE_OFFSETS = ((-0.375, 0.125), (0.125, -0.375), (0.375, 0.375))
"""Where the extra rays of an edge pixel go, in pixels; with the centre ray they spread evenly over x and y."""
MOST_RAYS = 1 << 20
"""Rays are followed in batches of this many, which bounds the memory of large pictures."""
EDGE_SHARE = 0.25
"""At most this share of the pixels is smoothed."""


class EmbreeScene:
    """A `Scene` made ready for rays. Build once, render many cameras."""

    def __init__(self, scene: Scene) -> None:
        """Flatten the instances into one triangle soup; ValueError when the scene holds no triangle."""
        self.scene = scene
        soup = flatten(scene)
        self._vertices, self._local, self._normals = soup.vertices, soup.local, soup.normals
        self._faces, self._smooth, self._uv = soup.faces, soup.smooth, soup.uv
        self._face_material, self._face_instance = soup.face_material, soup.face_instance
        self._has_uv = soup.has_uv
        self.materials: list[Material] = soup.materials
        self._axes = unit(np.stack([item.matrix[:3, :3].T for item in scene.instances]).astype(np.float32))
        self._reflectance = np.array([item.reflectance for item in self.materials], np.float32)
        self._transparent = np.array([item.transparent for item in self.materials])
        self._emission = np.array([item.emission for item in self.materials], np.float32)
        mean = np.stack([mean_albedo(item) for item in self.materials]).astype(np.float32)
        ambient = np.asarray(scene.ambient, np.float32)
        bounce = np.minimum(mean * (BOUNCE * ambient + self._emission[:, None]), 6.0)
        self._tree = _ray_tree(self._vertices, self._faces)
        opaque = ~self._transparent[self._face_material]
        self._opaque_faces = np.flatnonzero(opaque)
        if opaque.all():
            self._opaque_tree = self._tree
        else:
            self._opaque_tree = _ray_tree(self._vertices, self._faces[opaque]) if opaque.any() else None
        self._lighting = Lighting(scene, self._opaque_tree, self._face_material[self._opaque_faces], bounce)

    def probe(self, camera: SceneCamera, nx: int = 7, ny: int = 5, aspect: float = 0.75) -> Array:
        """z-depth (ny, nx) on a grid of rays from corner to corner of a picture with `aspect` = height / width."""
        width, height = 1000.0, 1000.0 * aspect
        x, y = np.meshgrid(np.linspace(0, width - 1, nx), np.linspace(0, height - 1, ny))
        depth, _ = _first_met(self._tree, camera, pixel_directions(camera, width, height, x.ravel(), y.ravel()))
        return depth.reshape(ny, nx)

    def depth_behind_glass(self, camera: SceneCamera, rendered: Rendered) -> Array:
        """z-depth (H, W) of a picture with all that is transparent taken away, +inf where there is only sky behind.

        Rays go on straight, also through curved glass. Where there is no glass the depth stays as it is, to the bit.
        """
        depth = rendered.depth.copy()
        height, width = depth.shape
        for row in np.flatnonzero(rendered.transparent.any(1)):
            x = np.flatnonzero(rendered.transparent[row])
            if self._opaque_tree is None:
                depth[row, x] = np.inf
                continue
            step = pixel_directions(camera, width, height, x.astype(np.float64), np.full(len(x), row, np.float64))
            depth[row, x], _ = _first_met(self._opaque_tree, camera, step)
        return depth

    def render(self, camera: SceneCamera, width: int, height: int, rng: np.random.Generator) -> Rendered:
        """Trace one picture. The same generator state gives the same picture."""
        y, x = np.divmod(np.arange(width * height), width)
        step = pixel_directions(camera, width, height, x, y)
        length = np.linalg.norm(step, axis=1)
        direction = step / length[:, None]
        spread = 1.0 / camera_intrinsics(camera, width, height)[0]
        hits = self._trace(_from_point(camera.position, len(step)), direction, spread)
        picture = Screen(width, height, hits, np.asarray(camera.position, np.float32))

        depth = np.full(width * height, np.inf, np.float32)
        depth[hits.ray] = hits.distance / length[hits.ray]
        transparent = np.zeros(width * height, bool)
        transparent[hits.ray] = self._transparent[hits.material]
        rgb = np.empty((width * height, 3), np.float32)
        sky = np.isinf(depth)
        rgb[sky] = sky_radiance(self.scene.sky, direction[sky])
        if len(hits.ray):
            light = picture.denoise(*self._lighting.arriving(hits.origin, hits.normal, Jitter(hits.ray, width, rng)))
            weight, extra = self._special(hits, spread)
            diffuse, extra = light * weight, extra + hits.albedo * self._emission[hits.material][:, None]
            rgb[hits.ray] = hits.albedo * diffuse + extra
            self._smooth_edges(picture, rgb, diffuse, extra, camera, spread, rng)
        shape = (height, width)
        return Rendered(
            rgb.reshape(*shape, 3),
            depth.reshape(shape),
            transparent.reshape(shape),
            camera_intrinsics(camera, width, height),
        )

    def _trace(
        self, origin: Array, direction: Array, spread: float, travelled: Array | None = None, opaque_only: bool = False
    ) -> Hits:
        """First surfaces along rays, with everything but their light; `spread` is the width of a pixel at 1 m."""
        if len(origin) > MOST_RAYS:
            parts = [slice(at, at + MOST_RAYS) for at in range(0, len(origin), MOST_RAYS)]
            return joined(
                [
                    self._trace(
                        origin[part],
                        direction[part],
                        spread,
                        None if travelled is None else travelled[part],
                        opaque_only,
                    )
                    for part in parts
                ],
                MOST_RAYS,
            )
        tree = self._opaque_tree if opaque_only else self._tree
        if tree is None or not len(origin):
            return Hits(*(np.zeros(shape, kind) for shape, kind in NO_HITS))
        origin, direction = np.ascontiguousarray(origin, np.float32), np.ascontiguousarray(direction, np.float32)
        found = tree.run(origin, direction, output=1)
        ray = np.flatnonzero(found["primID"] >= 0)
        triangle = found["primID"][ray]
        if opaque_only and tree is not self._tree:
            triangle = self._opaque_faces[triangle]
        distance, heading = found["tfar"][ray], direction[ray]
        point = origin[ray] + heading * distance[:, None]
        second, third = found["u"][ray][:, None], found["v"][ray][:, None]
        first = 1 - second - third
        corners = self._faces[triangle]
        flat = unit(found["Ng"][ray])
        flat *= -sign(dot(flat, heading))[:, None]

        normal = flat.copy()
        bent = np.flatnonzero(self._smooth[triangle])
        if len(bent):
            vertex = corners[bent]
            blend = (
                self._normals[vertex[:, 0]] * first[bent]
                + self._normals[vertex[:, 1]] * second[bent]
                + self._normals[vertex[:, 2]] * third[bent]
            )
            blend *= sign(dot(blend, flat[bent]))[:, None]
            normal[bent] = unit(blend + 1e-6 * flat[bent])
        a, b, c = (self._local[corners[:, k]] for k in range(3))
        local = a * first + b * second + c * third
        cross = np.cross(b - a, c - a)
        total = distance if travelled is None else distance + travelled[ray]
        footprint = total * spread / np.maximum(np.abs(dot(flat, heading)), 0.15)
        material = self._face_material[triangle]
        hits = Hits(ray, triangle, distance, point, heading, flat, normal, material, np.empty((0, 3), np.float32))
        hits.albedo = self._paint(hits, local, cross, footprint, np.concatenate([first, second, third], 1))
        away = np.maximum(0.08 + dot(hits.normal, heading), 0)  # smooth or bumped normals may face away at outlines
        hits.normal = unit(hits.normal - away[:, None] * heading)
        return hits

    def _paint(self, hits: Hits, local: Array, cross: Array, footprint: Array, weights: Array) -> Array:
        """Albedo of the hits (N, 3); bumps their normals on the way."""
        u_axis, v_axis = box_axes(cross)
        rows = np.arange(len(local))
        u, v = local[rows, u_axis], local[rows, v_axis]
        scale = np.ones(len(local), np.float32)  # pattern units per metre of the world
        mapped = np.flatnonzero(self._has_uv[hits.triangle])
        box_u, box_v = (u, v) if not len(mapped) else (u.copy(), v.copy())
        if self._uv is not None and len(mapped):
            corners = self._uv[hits.triangle[mapped]]
            place = (corners * weights[mapped][:, :, None]).sum(1)
            u[mapped], v[mapped] = place[:, 0], place[:, 1]
            edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
            area = np.abs(edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0])
            scale[mapped] = np.sqrt(area / np.maximum(np.linalg.norm(cross[mapped], axis=1), 1e-12))
        result = np.empty((len(local), 3), np.float32)
        order = np.argsort(hits.material, kind="stable")
        bounds = np.flatnonzero(np.diff(hits.material[order], prepend=-1, append=-1))
        for start, stop in itertools.pairwise(bounds):
            group = order[start:stop]
            material = self.materials[hits.material[group[0]]]
            result[group] = albedo(material, u[group], v[group], footprint[group] * scale[group])
            if material.bump > 0:
                tilt = slopes().sample(
                    box_u[group] * material.bump_scale / 8,
                    box_v[group] * material.bump_scale / 8,
                    footprint[group] * material.bump_scale / 8,
                ) * np.float32(0.35 * material.bump)
                axes = self._axes[self._face_instance[hits.triangle[group]]]
                near = np.arange(len(group))
                lean = axes[near, u_axis[group]] * tilt[:, :1] + axes[near, v_axis[group]] * tilt[:, 1:]
                hits.normal[group] = unit(hits.normal[group] - lean)
        return result

    def _special(self, hits: Hits, spread: float) -> tuple[Array, Array]:
        """Mirrors, gloss and glass: the share of diffuse light that stays (N, 1) and the light they add (N, 3)."""
        weight = np.ones((len(hits.ray), 1), np.float32)
        extra = np.zeros((len(hits.ray), 3), np.float32)
        base, clear = self._reflectance[hits.material], self._transparent[hits.material]
        base = np.where(clear, np.maximum(base, 0.04), base)
        shiny = np.flatnonzero(base > GLOSS)
        if len(shiny):
            heading, normal = hits.direction[shiny], hits.normal[shiny]
            cosine = np.clip(-dot(heading, normal), 0, 1)
            polished = clear[shiny] | (base[shiny] > METAL)
            grazing = np.where(polished, 1, np.maximum(base[shiny], 0.4))
            fresnel = (base[shiny] + (grazing - base[shiny]) * (1 - cosine) ** 5)[:, None].astype(np.float32)
            mirrored = heading + 2 * cosine[:, None] * normal
            under = dot(mirrored, hits.flat[shiny])  # a bumped normal may send the ray into the surface
            mirrored = unit(mirrored + hits.flat[shiny] * np.maximum(0.02 - under, 0)[:, None])
            seen = self._radiance(hits.origin[shiny], mirrored, spread, hits.distance[shiny])
            tint = np.where(base[shiny, None] > METAL, hits.albedo[shiny], 1)
            weight[shiny] = 1 - fresnel
            extra[shiny] = seen * fresnel * tint
        glass = np.flatnonzero(clear)
        if len(glass):
            normal, heading = hits.normal[glass], hits.direction[glass]
            along = dot(heading, normal)[:, None]
            curved = self._smooth[hits.triangle[glass]]  # curved glass distorts, panes do not
            bend = np.where(curved, np.float32(0.3), np.float32(0))[:, None]
            onward = unit(heading - bend * (heading - along * normal))
            start = hits.point[glass] - hits.flat[glass] * (1e-3 + 1e-4 * hits.distance[glass])[:, None]
            behind = self._radiance(start, onward, spread, hits.distance[glass], opaque_only=True)
            extra[glass] += behind * weight[glass] * hits.albedo[glass] * 0.92
            weight[glass] *= 0.03  # dust
        return weight, extra

    def _radiance(
        self, origin: Array, direction: Array, spread: float, travelled: Array, opaque_only: bool = False
    ) -> Array:
        """What a second ray sees (N, 3), with simple light: hard shadows, no ambient occlusion, no further rays."""
        seen = np.empty_like(origin)
        hits = self._trace(origin, direction, spread, travelled, opaque_only)
        sky = np.ones(len(origin), bool)
        sky[hits.ray] = False
        seen[sky] = sky_radiance(self.scene.sky, direction[sky])
        if len(hits.ray):
            start, lighting = hits.origin, self._lighting
            light = 0.7 * lighting.surroundings(hits.normal) + self._emission[hits.material][:, None]
            for sun in lighting.suns:
                light += lighting.sunlight(sun, start, hits.normal, None)
            if lighting.lamps:
                light += lighting.lamplight(start, hits.normal, None)
            seen[hits.ray] = hits.albedo * light
        return seen

    def _smooth_edges(
        self,
        picture: Screen,
        rgb: Array,
        diffuse: Array,
        extra: Array,
        camera: SceneCamera,
        spread: float,
        rng: np.random.Generator,
    ) -> None:
        """Average `rgb` (H * W, 3) over a few jittered rays where surfaces or colours change, in place.

        An extra ray borrows its light from whichever of the pixels around it lies on the nearest surface.
        """
        edges = picture.edges()
        limit = int(EDGE_SHARE * len(rgb))
        if len(edges) > limit:
            edges = np.sort(rng.choice(edges, limit, replace=False))
        if not len(edges):
            return
        bright = np.float32(4 * rgb.mean() + 1e-4)  # as x / (x + bright), or one dazzling ray outvotes all
        total = rgb[edges] / (rgb[edges] + bright)
        row, column = np.divmod(edges, picture.width)
        around = np.stack(
            [
                np.clip(row + dy, 0, picture.height - 1) * picture.width + np.clip(column + dx, 0, picture.width - 1)
                for dy, dx in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
            ]
        )
        flip = rng.choice((-1.0, 1.0), (2, len(edges)))
        for right, down in EDGE_OFFSETS:
            x, y = column + right * flip[0], row + down * flip[1]
            step = pixel_directions(camera, picture.width, picture.height, x, y)
            direction = unit(step)
            hits = self._trace(_from_point(camera.position, len(step)), direction, spread)
            color = np.empty((len(edges), 3), np.float32)
            sky = np.ones(len(edges), bool)
            sky[hits.ray] = False
            color[sky] = sky_radiance(self.scene.sky, direction[sky])
            if len(hits.ray):
                lender = picture.nearest_surface(hits, around[:, hits.ray])
                color[hits.ray] = hits.albedo * diffuse[lender] + extra[lender]
            total += color / (color + bright)
        mean = np.minimum(total / (1 + len(EDGE_OFFSETS)), 0.999)
        rgb[edges] = mean * bright / (1 - mean)


def _ray_tree(vertices: Array, faces: NDArray[np.int32]) -> RayTree:
    """Triangles, faces (F, 3) of vertices (V, 3), as a tree that finds which one a ray meets."""
    tree = RayTree()
    TriangleMesh(tree, np.ascontiguousarray(vertices), np.ascontiguousarray(faces))
    return tree


def _first_met(tree: RayTree, camera: SceneCamera, step: Array) -> tuple[Array, NDArray[np.integer]]:
    """z-depth (N,) of what rays from the camera meet first, +inf for nothing, and its triangle, -1 for none.

    step: directions (N, 3) as `pixel_directions` gives them.
    """
    length = np.linalg.norm(step, axis=1)
    found = tree.run(_from_point(camera.position, len(step)), step / length[:, None], output=1)
    triangle = found["primID"]
    return np.where(triangle >= 0, found["tfar"] / length, np.inf).astype(np.float32), triangle


def _from_point(position: tuple[float, float, float], count: int) -> Array:
    """Origins (count, 3) of rays that all begin at one place."""
    return np.tile(np.asarray(position, np.float32), (count, 1))
