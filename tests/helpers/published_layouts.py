"""What published files hold: names and shapes of tensors, written down apart from the code that reads them."""

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


def depth_anything2_hub_layout(
    width: int, depth: int, stages: tuple[int, ...], channels: int, *, prompted: bool = False
) -> Layout:
    """`model.safetensors` of Depth Anything V2 for transformers; prompted: of Prompt Depth Anything."""
    embeddings = "backbone.embeddings."
    found: Layout = {
        f"{embeddings}cls_token": (1, 1, width),
        f"{embeddings}mask_token": (1, width),
        f"{embeddings}position_embeddings": (1, 1370, width),
    }
    found |= layer(f"{embeddings}patch_embeddings.projection", width, 3, 14, 14)
    for i in range(depth):
        block = f"backbone.encoder.layer.{i}."
        for name in ("norm1", "norm2"):
            found |= layer(f"{block}{name}", width)
        for name in ("attention.query", "attention.key", "attention.value", "output.dense"):
            found |= layer(f"{block}attention.{name}", width, width)
        found |= layer(f"{block}mlp.fc1", 4 * width, width)
        found |= layer(f"{block}mlp.fc2", width, 4 * width)
        found |= {f"{block}layer_scale{k}.lambda1": (width,) for k in (1, 2)}
    found |= layer("backbone.layernorm", width)
    for i, stage in enumerate(stages):
        found |= layer(f"neck.reassemble_stage.layers.{i}.projection", stage, width, 1, 1)
        found[f"neck.convs.{i}.weight"] = (channels, stage, 3, 3)
    for i, side in ((0, 4), (1, 2), (3, 3)):
        found |= layer(f"neck.reassemble_stage.layers.{i}.resize", stages[i], stages[i], side, side)
    for i in range(4):
        fusion = f"neck.fusion_stage.layers.{i}."
        found |= layer(f"{fusion}projection", channels, channels, 1, 1)
        for unit, conv in ((1, 1), (1, 2), (2, 1), (2, 2)):
            found |= layer(f"{fusion}residual_layer{unit}.convolution{conv}", channels, channels, 3, 3)
        for conv, inputs in ((1, 1), (2, channels), (3, channels)) if prompted else ():
            found |= layer(f"{fusion}prompt_depth_layer.convolution{conv}", channels, inputs, 3, 3)
    found |= layer("head.conv1", channels // 2, channels, 3, 3)
    found |= layer("head.conv2", 32, channels // 2, 3, 3)
    return found | dict(layer("head.conv3", 1, 32, 1, 1))


def moge_layout(width: int, depth: int, taps: int, neck_blocks: int, *, normals: bool = True) -> Layout:
    """`model.pt` of MoGe-2; neck_blocks: residual blocks at each of levels 1 to 3 of the neck."""
    trunk, w = "encoder.backbone.", (width, 256, 128, 64, 32)
    found = dinov2_layout(trunk, width, depth, 37) | {f"{trunk}mask_token": (1, width)}
    found |= {f"encoder.image_{name}": (1, 3, 1, 1) for name in ("mean", "std")}
    for tap in range(taps):
        found |= layer(f"encoder.output_projections.{tap}", width, width, 1, 1)
    heads = {"points_head": 3, "mask_head": 1} | ({"normal_head": 3} if normals else {})
    for stack in ("neck", *heads):
        for level in range(5):
            inputs = w[level] if stack in heads else (width + 2 if level == 0 else 2)
            found |= layer(f"{stack}.input_blocks.{level}", w[level], inputs, 1, 1)
        for level in range(3):
            up = f"{stack}.resamplers.{level}.0"  # a transposed convolution has its inputs first
            found |= {f"{up}.weight": (w[level], w[level + 1], 2, 2), f"{up}.bias": (w[level + 1],)}
            found |= layer(f"{stack}.resamplers.{level}.1", w[level + 1], w[level + 1], 3, 3)
        found |= layer(f"{stack}.resamplers.3.1", 32, 64, 3, 3)
        for level in (1, 2, 3):
            for k in range(neck_blocks if stack == "neck" else 1):
                for place in (2, 5):
                    found |= layer(f"{stack}.res_blocks.{level}.{k}.layers.{place}", w[level], w[level], 3, 3)
        if stack in heads:
            found |= layer(f"{stack}.output_blocks.4", heads[stack], 32, 1, 1)
    for place, outputs in ((0, width), (2, width), (4, 1)):
        found |= layer(f"scale_head.{place}", outputs, width)
    return found
