"""What the authors' own files hold: names and shapes of tensors, written down apart from the code that reads them."""

from __future__ import annotations

from collections.abc import Iterator

Layout = dict[str, tuple[int, ...]]


def layer(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Weight and bias of a layer."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", (shape[0],)


def dinov2_layout(prefix: str, width: int, depth: int, grid: int) -> Layout:
    """The trunk: patches of 14 pixels, `grid` of them on a side, 4 * width in the MLP."""
    found: Layout = {f"{prefix}cls_token": (1, 1, width), f"{prefix}pos_embed": (1, grid * grid + 1, width)}
    found |= layer(f"{prefix}patch_embed.proj", width, 3, 14, 14)
    for i in range(depth):
        block = f"{prefix}blocks.{i}."
        for norm in ("norm1", "norm2"):
            found |= layer(f"{block}{norm}", width)
        found |= layer(f"{block}attn.qkv", 3 * width, width)
        found |= layer(f"{block}attn.proj", width, width)
        found |= layer(f"{block}mlp.fc1", 4 * width, width)
        found |= layer(f"{block}mlp.fc2", width, 4 * width)
        found |= {f"{block}ls1.gamma": (width,), f"{block}ls2.gamma": (width,)}
    return found | dict(layer(f"{prefix}norm", width))


def dpt_layout(prefix: str, width: int, stages: tuple[int, ...], channels: int, *, skips: tuple[int, ...]) -> Layout:
    """The decoder of Depth Anything; skips: the fusion blocks that have a unit for the skip, used or not."""
    found: Layout = {}
    for i, stage in enumerate(stages):
        found |= layer(f"{prefix}projects.{i}", stage, width, 1, 1)
        found[f"{prefix}scratch.layer{i + 1}_rn.weight"] = (channels, stage, 3, 3)
    for i, side in ((0, 4), (1, 2), (3, 3)):
        found |= layer(f"{prefix}resize_layers.{i}", stages[i], stages[i], side, side)
    for block in (1, 2, 3, 4):
        for unit in (1, 2) if block in skips else (2,):
            for conv in (1, 2):
                name = f"{prefix}scratch.refinenet{block}.resConfUnit{unit}.conv{conv}"
                found |= layer(name, channels, channels, 3, 3)
        found |= layer(f"{prefix}scratch.refinenet{block}.out_conv", channels, channels, 1, 1)
    found |= layer(f"{prefix}scratch.output_conv1", channels // 2, channels, 3, 3)
    return found | end_layout(f"{prefix}scratch.output_conv2", channels)


def end_layout(name: str, channels: int) -> Layout:
    """The last two convolutions of an end."""
    return dict(layer(f"{name}.0", 32, channels // 2, 3, 3)) | dict(layer(f"{name}.2", 1, 32, 1, 1))


def depth_anything2_layout(width: int, depth: int, stages: tuple[int, ...], channels: int, grid: int = 37) -> Layout:
    """`depth_anything_v2_*.pth`."""
    found = dinov2_layout("pretrained.", width, depth, grid) | {"pretrained.mask_token": (1, width)}
    return found | dpt_layout("depth_head.", width, stages, channels, skips=(1, 2, 3, 4))


def depth_anything3_layout(
    width: int = 1024,
    depth: int = 24,
    stages: tuple[int, ...] = (256, 512, 1024, 1024),
    channels: int = 256,
    grid: int = 37,
) -> Layout:
    """`model.safetensors` of Depth Anything 3 mono and metric."""
    found = dinov2_layout("model.backbone.pretrained.", width, depth, grid)
    found |= dpt_layout("model.head.", width, stages, channels, skips=(1, 2, 3))
    return found | end_layout("model.head.scratch.sky_output_conv2", channels)
