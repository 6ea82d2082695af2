"""From an image to a `DepthResult`: check, coarse pass, patches, canvas.

The networks come in ready; `pro_engine.inference.load` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pro_engine.errors import InputError, ProEngineError
from pro_engine.geometry.checks import check_image, check_intrinsics
from pro_engine.inference import runtime, sides, surfaces, tiling
from pro_engine.inference.average import MOVES, divide, patch_weights
from pro_engine.inference.coarse import Coarse
from pro_engine.inference.prompt import patch_prompts, photo_prompt
from pro_engine.inference.resize import resized
from pro_engine.inference.runtime import Progress, Stopwatch
from pro_engine.inference.seams import join_patches
from pro_engine.inference.sharpen import sharpen
from pro_engine.inference.tiling import Plan
from pro_engine.inference.whole import Lens, settle
from pro_engine.models.contract import DepthBase, Prompt, PsiOutput, PsiSpec, Refiner
from pro_engine.models.int8 import quantize_convolutions
from pro_engine.models.outline_net import OutlineNet
from pro_engine.models.packed import pack_convolutions, packing_supported
from pro_engine.models.refiner_blend import BlendRefiner
from pro_engine.models.refiner_published import AnyModule, center_and_spread, fold_batch_norm
from pro_engine.options import InferenceOptions, ModelOptions, OptionError
from pro_engine.types import DepthResult, FloatMap, ImageArray, Intrinsics, LensSource

_DEFAULTS = InferenceOptions()
_TOLD = "The sensor depth was the model's prompt: metres are the sensor's, and end where its nearest and farthest do."


class DepthPredictor:
    """A Ψ and a refiner, ready to infer. Holds no state of any image, so threads may share one.

    psi and refiner are put on the device in eval mode, their batch norms folded into the convolutions; the modules
    given are used up, do not train them afterwards. Without a refiner `refine="trained"` is refused; "blend" always
    works. fine: another Ψ, which looks at the patches in place of psi; `fine_name` is its name. Where the refiner looks
    at features they are those of this other Ψ, which sees the whole picture, too; share: how much of the coarse map is
    its own then, from 0 to 1. outlines: says where they are for `refine="sharp"`, which is refused without. `mark` is a
    text that tells the weights from others, `notes` are sentences on how it computes.

    Raises:
        InputError: an unknown device or dtype name, or a refiner that looks at features which the Ψ of the patches
            does not have.
        DeviceError: a device that is not there, or int8 where it does not run.
    """

    def __init__(
        self,
        psi: DepthBase,
        refiner: Refiner | None = None,
        *,
        fine: DepthBase | None = None,
        share: float = 0.0,
        outlines: OutlineNet | None = None,
        name: str = "",
        fine_name: str = "",
        mark: str = "",
        device: str = ModelOptions.device,
        dtype: str = ModelOptions.dtype,
    ) -> None:
        self.name, self.fine_name, self.mark = name, fine_name, mark
        levels = 0 if refiner is None else refiner.feature_levels
        if fine is not None and levels and not fine.spec.feature_channels:
            raise InputError("This refiner looks at features, and the Ψ of the patches has none; take one for any Ψ.")
        self.share, self._sees_whole = share, fine is not None and (share > 0 or levels > 0)
        self.spec: PsiSpec = psi.spec
        self.device = runtime.resolve_device(device)
        same = psi.same_in_bfloat16 and (fine is None or fine.same_in_bfloat16)
        self.dtype = runtime.resolve_dtype(dtype, self.device, same_in_bfloat16=same)
        self.psi = self._ready(psi)
        self.fine = None if fine is None else self._ready(fine)
        self.refiner = None if refiner is None else self._ready(refiner)
        self.outlines = None if outlines is None else self._ready(outlines)
        self.notes = runtime.slow_dtype_notes(self.dtype, self.device)
        if self.dtype == torch.int8:
            self._use_int8()
        if self.device.type == "cpu" and packing_supported():
            for network in (self.psi, self.fine, self.refiner, self.outlines):
                if network is not None:
                    pack_convolutions(network)
        self._blend = self._ready(BlendRefiner())

    def _use_int8(self) -> None:
        """Quantize the refiner, or take what is faster for it and note that."""
        fastest = runtime.fastest_dtype()
        if self.refiner is not None and (self.refiner.gains_in_int8 or fastest == torch.float32):
            quantize_convolutions(self.refiner)
            return
        self.dtype = fastest
        self.notes = (f"int8 is no faster than {self.dtype_name} for this refiner, and was not used.",)

    def infer(
        self,
        image: ImageArray,
        *,
        intrinsics: Intrinsics | None = None,
        lens_source: LensSource = "given",
        prompt: FloatMap | None = None,
        options: InferenceOptions = _DEFAULTS,
        progress: Progress | None = None,
        shifted: bool = False,
    ) -> DepthResult:
        """Depth of one picture.

        image: (H, W, 3) uint8 RGB, upright, at least 32 pixels a side. intrinsics: of the picture, from `lens_source`;
        a Ψ that gives a lens of its own follows them, also those that it gave for an earlier frame ("model"), but
        "assumed" ones give way to its own. prompt: (p, q) float32
        metres of a sensor over the whole picture, 0 or NaN where it has none, for a Ψ that takes it; metres are those
        of the sensor then, and stay within its range. progress(done, total)
        counts Ψ passes (the coarse one, then the patches) and is called after every batch; returning False stops. The
        result's disparity is in units of (D - center) / spread of the coarse map D, so it may be negative. A metric Ψ
        also gives depth in metres, one whose metres depend on the lens only where a lens is known or assumed. shifted
        moves all patches by half a patch, to measure what the place of their borders does: the rim of half a patch that
        they leave is not valid and shows the coarse map.

        Raises:
            InputError: not such an image; intrinsics of another size; a prompt without readings, or for a Ψ that takes
                none; refine="trained" without a trained refiner.
            CancelledError: progress asked to stop.
            DeviceError: memory does not hold one patch.
        """
        check_image(image)
        if intrinsics is not None:
            check_intrinsics(intrinsics, image.shape, "image")
        if not isinstance(options, InferenceOptions):
            raise InputError(f"options is a {type(options).__name__}; give InferenceOptions(...).")
        refiner = self.refiner_for(options)
        watch = Stopwatch(self.device)
        height, width = image.shape[:2]
        layouts = self.plans(height, width, options if refiner else replace(options, tiles=(1, 1)), shifted=shifted)
        layout, total = layouts[0], 1 + (sum(one.patches for one in layouts) if refiner else 0)
        with torch.inference_mode(), runtime.autocast(self.device, self.dtype):
            lens = None if intrinsics is None else Lens(intrinsics, lens_source)
            coarse = self._coarse_pass(image, layout, lens, self._prompt(prompt, layout), watch)
            runtime.report(progress, 1, total)
            if refiner is None:
                values = coarse.normalised
            else:
                values = self._refine(image, layouts, coarse, refiner, options.batch_size, watch, progress)
        with watch.phase("canvas"):
            self._check_finite(values)
            sharpens = refiner is not None and refiner.sharpens
            result = self._on_picture(values, image, layout, coarse, options, sharpens=sharpens)
        return replace(result, seconds=watch.total(), timings=watch.seconds)

    def _on_picture(
        self,
        values: FloatMap,
        image: ImageArray,
        layout: Plan,
        coarse: Coarse,
        options: InferenceOptions,
        *,
        sharpens: bool,
    ) -> DepthResult:
        """The result at the size of the picture; values: (h, w) the canvas, or the coarse map if nothing is refined."""
        whole, valid = coarse.whole, tiling.covered_pixels(layout)
        sky, known = whole.sky_of(image), whole.valid_of(image)
        infinite = sky if whole.surface is not None else None
        values = coarse.continued(values, infinite)
        size, aligned, sharp, alpha = layout.image, layout.published, options.refine == "sharp", None
        if sharp:
            both = self._surfaces(values, image, layout, coarse)
            disparity = surfaces.on_picture(both, size, aligned=aligned)
            alpha = surfaces.alpha_of(both, size, aligned=aligned) if options.keep_alpha else None
        else:
            disparity = tiling.to_image(values, layout)
        coarse_map = coarse.on_picture(layout, sky, keep=options.keep_sky) if options.keep_coarse else None
        if sharpens and not sharp:
            sharpen(disparity, image, layout.canvas)
        told = coarse.set_sky(disparity, sky, keep=options.keep_sky)
        depth, scale_shift = coarse.metres(disparity, infinite)
        if known is not None:
            valid &= known
            if depth is not None:
                depth[~known] = np.nan
        return DepthResult(
            disparity=disparity,
            valid=valid,
            depth=depth,
            intrinsics=None if whole.lens is None else whole.lens.intrinsics,
            lens_source=None if whole.lens is None else whole.lens.source,
            scale_shift=scale_shift,
            coarse=coarse_map,
            alpha=alpha,
            sky=sky,
            normals=whole.normals_of(image) if options.keep_normals else None,
            span_m=whole.span,
            tiles=layout.grid,
            model=self.full_name,
            dtype=self.dtype_name,
            notes=self.notes + tuple(note for note in (whole.note, told) if note),
        )

    def _surfaces(self, values: FloatMap, image: ImageArray, layout: Plan, coarse: Coarse) -> surfaces.Surfaces:
        """Both surfaces on the canvas (h, w) of a picture, for sharp steps."""
        assert self.outlines is not None  # or `refiner_for` had refused
        picture = resized(image, layout.canvas)
        with torch.inference_mode(), runtime.autocast(self.device, self.dtype):
            said = sides.see(self.outlines, values, coarse.on_canvas(layout.canvas), picture, self.device)
        return surfaces.find(values, picture, said)

    @property
    def full_name(self) -> str:
        """Of the model, and with a plus of the one that looks at the patches if that is another."""
        return f"{self.name}+{self.fine_name}" if self.fine_name else self.name

    @property
    def dtype_name(self) -> str:
        """The number format, such as "bfloat16"."""
        return str(self.dtype).removeprefix("torch.")

    def plan(
        self,
        height: int,
        width: int,
        tiles: Literal["auto"] | tuple[int, int],
        *,
        shifted: bool | tuple[bool, bool] = False,
    ) -> Plan:
        """Where the patches of a picture of this size lie."""
        fine = None if self.fine is None else self.fine.spec
        return tiling.plan(height, width, self.spec, tiles, fine=fine, shifted=shifted)

    def plans(self, height: int, width: int, options: InferenceOptions, *, shifted: bool = False) -> tuple[Plan, ...]:
        """The grids that are averaged for a picture of this size: one, or with four passes all that its sides allow."""
        moves = (shifted,) if shifted else MOVES[: options.passes]
        return tuple(dict.fromkeys(self.plan(height, width, options.tiles, shifted=move) for move in moves))

    def _ready(self, module: AnyModule) -> AnyModule:
        module = fold_batch_norm(module.eval().requires_grad_(False))
        # On a CPU (and on tensor cores) convolutions run faster with the channels last; nothing else changes.
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def refiner_for(self, options: InferenceOptions) -> Refiner | None:
        """The refiner that `options` ask for, None for the coarse map. Raises OptionError: there is none."""
        if options.refine == "none":
            return None
        if options.refine == "blend":
            return self._blend
        if self.refiner is None:
            sentence = "has no refiner of its own; give {0} blend (training-free), or none for the coarse map."
            raise OptionError(f"Model {self.name or 'given'} {sentence}", "refine")
        if options.refine == "sharp" and not (self.refiner.sharpens and self.outlines):
            raise OptionError("The refiner in use gives no steps to sharpen; give {0} trained.", "refine")
        return self.refiner

    def _prompt(self, depth: FloatMap | None, layout: Plan) -> Prompt | None:
        if depth is None:
            return None
        if not self.spec.takes_prompt:
            raise InputError(
                f"Model {self.name} takes no prompt; leave it out and fit the disparity to the sensor "
                "(fit_scale_shift), or choose a promptda model."
            )
        return photo_prompt(depth, layout.coarse, self.device)

    def _coarse_pass(
        self, image: ImageArray, layout: Plan, lens: Lens | None, prompt: Prompt | None, watch: Stopwatch
    ) -> Coarse:
        with watch.phase("preprocess"):
            batch = self._to_tensor([tiling.coarse_input(image, layout)])  # (1, 3, h, w)
        with watch.phase("coarse"):
            try:
                aspect = image.shape[1] / image.shape[0]
                output = _in_float32(
                    self.psi.whole(batch, aspect) if prompt is None else self.psi.prompted(batch, prompt)
                )
                if self.fine is not None and self._sees_whole:
                    seen = resized(image, tiling.input_size(*layout.image, self.fine.spec))
                    output = self._with_fine(output, _in_float32(self.fine.whole(self._to_tensor([seen]), aspect)))
            except RuntimeError as error:
                if runtime.is_out_of_memory(error):
                    raise runtime.out_of_memory(self.device) from error
                raise
            whole = settle(output, self.spec, layout.coarse, image, lens)
            if prompt is not None:
                whole = replace(whole, metric_factor=1.0, scale_source="fitted", note=_TOLD)
            return Coarse.of(output, whole, prompt)

    def _with_fine(self, output: PsiOutput, fine: PsiOutput) -> PsiOutput:
        """What Ψ gave for the whole picture, with the features of the one for the patches, and its share of the map."""
        disparity = output.disparity
        if self.share > 0:
            center, spread = center_and_spread(disparity)
            own_center, own_spread = center_and_spread(fine.disparity)
            own = (fine.disparity - own_center) / own_spread.clamp_min(1e-12) * spread + center
            own = F.interpolate(own, disparity.shape[-2:], mode="bicubic", align_corners=False)
            disparity = torch.lerp(disparity, own, self.share)
        return output._replace(disparity=disparity, features=fine.features)

    def _refine(
        self,
        image: ImageArray,
        layouts: Sequence[Plan],
        coarse: Coarse,
        refiner: Refiner,
        batch_size: int | str,
        watch: Stopwatch,
        progress: Progress | None,
    ) -> FloatMap:
        """All patches through Ψ and the refiner onto the canvas (rows * h, columns * w), float32; of several grids the
        mean."""
        layout, averages = layouts[0], len(layouts) > 1
        with watch.phase("preprocess"):
            source = tiling.patch_source(image, layout)
            if averages:
                canvas, weights = np.zeros(layout.canvas, np.float32), patch_weights(layout.patch)
            else:
                canvas = coarse.on_canvas(layout.canvas)  # what no patch covers stays coarse
                guide = canvas[layout.covered].copy()
        if isinstance(batch_size, str):
            spec = self.spec if self.fine is None else self.fine.spec
            batch_size = runtime.auto_batch_size(
                layout.patches, layout.patch, spec, device=self.device, dtype=self.dtype
            )
        done, total = 1, 1 + sum(one.patches for one in layouts)
        for grid in layouts:

            def put(index: int, values: FloatMap, grid: Plan = grid) -> None:
                if averages:
                    canvas[grid.cell(index)] += weights * values
                else:
                    canvas[grid.cell(index)] = values

            def after(stop: int, done: int = done) -> None:
                runtime.report(progress, done + stop, total)

            step = self._step(source, grid, coarse, refiner, watch, put)
            runtime.run_batches(grid.patches, batch_size, step, device=self.device, after=after)
            done += grid.patches
        with watch.phase("canvas"):
            if averages:
                divide(canvas, layouts, weights)
            elif refiner.level_borders:
                join_patches(canvas[layout.covered], guide, layout.laid, resized(source, layout.canvas)[layout.covered])
        return canvas

    def _step(
        self,
        source: ImageArray,
        layout: Plan,
        coarse: Coarse,
        refiner: Refiner,
        watch: Stopwatch,
        put: Callable[[int, FloatMap], None],
    ) -> Callable[[int, int], None]:
        """step(start, stop) refines these patches of a grid and hands out each, (h, w), by `put`."""
        boxes = torch.tensor(layout.boxes, dtype=torch.float32, device=self.device)  # (P, 4)
        psi = self.fine or self.psi

        def step(start: int, stop: int) -> None:
            with watch.phase("preprocess"):
                rgb = self._to_tensor([tiling.patch_input(source, layout, i) for i in range(start, stop)])
            with watch.phase("patches"):
                # One patch is the whole picture: Ψ has seen it already.
                seen = layout.grid == (1, 1) and psi is self.psi
                fine = coarse.output if seen else _of_patches(psi, rgb, coarse, boxes[start:stop])
            with watch.phase("refiner"):
                patches = coarse.refiner_input(rgb, fine, psi.spec, boxes[start:stop], refiner.feature_levels)
                refined = refiner(patches).float().cpu().numpy()
            with watch.phase("canvas"):
                for i in range(start, stop):
                    put(i, refined[i - start, 0])

        return step

    def _to_tensor(self, images: list[np.ndarray]) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] on the device, channels last in memory, from (h, w, 3) arrays in 0..255."""
        batch = torch.from_numpy(np.stack(images)).to(self.device)
        return batch.permute(0, 3, 1, 2).float() / 255.0

    def _check_finite(self, values: FloatMap) -> None:
        if not np.isfinite(values).all():
            raise ProEngineError(
                f"Model {self.name} gave values that are not finite in {self.dtype}; use dtype='float32', and check "
                "the weights if that does not help."
            )


def _of_patches(psi: DepthBase, rgb: Tensor, coarse: Coarse, boxes: Tensor) -> PsiOutput:
    """Ψ's output for patches (P, 3, h, w) over `boxes` (P, 4)."""
    if coarse.prompt is None or not psi.spec.takes_prompt:
        return _in_float32(psi(rgb))
    return _in_float32(psi.prompted(rgb, patch_prompts(coarse.prompt, boxes)))


def _in_float32(output: PsiOutput) -> PsiOutput:
    return output._replace(disparity=output.disparity.float())
