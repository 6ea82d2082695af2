"""Weights on disk: reading them without trusting them, the bundled ones, the Hugging Face hub, and writing.

Files hold tensors and nothing else: safetensors, or what `torch.save` wrote, read with `weights_only=True`, which runs
no code from the file. torch, safetensors and huggingface_hub are imported by the functions that need them.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import socket
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from pro_engine.errors import DependencyError, FileError, WeightsError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike, readable_file
from pro_engine.options import ModelOptions, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    Content = tuple[dict[str, Tensor], Mapping[str, Any] | None]
    """Tensors by name, and what the file says of their network under `model_config`."""

_WRAPPERS = ("model", "state_dict", "model_dict", "model_state_dict")
_MOST_WRAPPERS = 4
_HEAD_BYTES = 512
_HASH_CHUNK = 1 << 20
_PART_BYTES = 1 << 27


class RevisionError(WeightsError, OptionError):
    """Weights are not of the revision, or have not the checksum, that is pinned."""


def read_weights(path: PathLike, *, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU.

    The kind is told from the content: safetensors, or a checkpoint of `torch.save` (.pth, .pt, .bin); one that wraps
    its tensors in {"model": ...} or {"state_dict": ...} is unwrapped.

    Args:
        path: the file.
        sha256: the file's hash in hexadecimal, checked where given.

    Raises:
        RevisionError: the file has another hash.
        WeightsError: the file is missing, empty, truncated, no weights at all (a web page, a Git LFS pointer), holds
            anything but tensors, or would run code.
    """
    return read_weights_and_config(path, sha256=sha256)[0]


def read_weights_and_config(path: PathLike, *, sha256: str | None = None) -> Content:
    """As `read_weights`, and what a checkpoint says of its network under `model_config`, None where it does not."""
    try:
        source = readable_file(path)
        with open(source, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except (FileError, OSError) as error:
        raise WeightsError(str(error)) from error
    _refuse_lookalikes(source, head)
    if sha256 is not None:
        _check_hash(source, sha256)
    # safetensors first: it begins with a length, whose lowest byte may be any, that of a pickle too
    config = None
    if head[8:9] == b"{":
        tensors = _read_safetensors(source)
    elif head[:2] == b"PK" or head[:1] == b"\x80":
        content = _read_checkpoint(source)
        tensors = _tensors_in(source, content)
        config = content.get("model_config")
    else:
        raise WeightsError(f"{source} is neither a safetensors file nor a PyTorch checkpoint; download it again.")
    if not tensors:
        raise WeightsError(f"{source} holds no tensors; give a file of weights.")
    return tensors, config if isinstance(config, Mapping) else None


def file_about(path: PathLike) -> dict[str, str]:
    """What the header of a safetensors file says beside its tensors, see `save_weights`; {} of any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(readable_file(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def save_weights(path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, atomically.

    Args:
        path: the file; its folder is created.
        tensors: by name; they are written as they lie on the CPU, contiguous.
        metadata: texts to keep in the file's header.

    Raises:
        FileError: the file cannot be written.
    """
    import torch
    from safetensors.torch import save

    plain = {
        name: value.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(plain, dict(metadata or {})))  # its own writer hides why the system refuses


def bundled_weights(filename: str) -> Path:
    """The path of a weights file that comes with the package.

    Raises:
        WeightsError: this installation does not have it.
    """
    path = Path(str(files("pro_engine"))) / "weights" / filename
    if not path.is_file():
        raise WeightsError(
            f"The bundled weights {filename} are missing from this installation; install pro-engine again."
        )
    return path


def cached_weights(
    repo: str, filename: str, *, revision: str = "main", cache_dir: PathLike | None = ModelOptions.cache_dir
) -> Path | None:
    """The path of a hub file that was fetched before, or None; the network is not touched.

    Raises:
        DependencyError: huggingface_hub is not installed.
    """
    hub = _hub()
    found = hub.try_to_load_from_cache(repo, filename, cache_dir=cache_dir, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetch_weights(
    repo: str,
    filename: str,
    *,
    licence: str,
    caution: str = "",
    revision: str = "main",
    offline: bool = ModelOptions.offline,
    cache_dir: PathLike | None = ModelOptions.cache_dir,
    announce: Callable[[str], None] | None = None,
) -> Path:
    """A file of the Hugging Face hub: from the cache if it is there, else downloaded into it.

    Args:
        repo: "owner/name" on the hub.
        filename: the file in that repository.
        licence: of the weights, for the announcement.
        caution: a sentence on what that licence forbids or leaves open; `announce` is told before a download.
        revision: branch, tag or commit.
        offline: never touch the network.
        cache_dir: the cache folder, or None for the hub's own.
        announce: takes the announcement; raises to refuse the download. By default it is logged as a warning.

    Raises:
        DependencyError: huggingface_hub is not installed.
        WeightsError: not in the cache while offline, or the download failed.
    """
    hub = _hub()
    cached = cached_weights(repo, filename, revision=revision, cache_dir=cache_dir)
    if cached is not None:
        return cached
    if offline:
        raise WeightsError(
            f"{filename} of {repo} is not in the cache and offline mode is on; load the model once online, or copy the "
            f"hub cache of a machine that has it to {cache_dir or hub.constants.HF_HUB_CACHE}."
        )
    if caution:
        notice = f"{repo}, licence {licence}: {caution} Downloading {filename} means accepting this."
        (announce or logging.getLogger(__name__).warning)(notice)
    try:
        _find_host(hub.constants.ENDPOINT)
        return Path(hub.hf_hub_download(repo, filename, revision=revision, cache_dir=cache_dir))
    except Exception as error:  # the hub lets through the errors of whichever HTTP library it is built on
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise WeightsError(
            f"{filename} of {repo} cannot be downloaded ({reason}); check the network, or download it elsewhere and "
            "give the file's path as the weights."
        ) from error


def _find_host(url: str) -> None:
    """Raises OSError where the host of an address is unknown, as without a network: the hub would try for a minute or
    more and print a line each time. Behind a proxy only the proxy knows."""
    host = urlsplit(url).hostname
    if host is not None and not getproxies():
        socket.getaddrinfo(host, None)


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise DependencyError(
            "Weights from the hub need the extra `hub`; run: pip install 'pro-engine[hub]'."
        ) from error
    return huggingface_hub


def _refuse_lookalikes(path: Path, head: bytes) -> None:
    """What a download that went wrong leaves in the place of weights."""
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights; run: git lfs pull.")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(f"{path} is a web page, not weights; the download needed a login or a direct link.")


def _check_hash(path: Path, expected: str) -> None:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected.lower():
        raise RevisionError(
            f"{path} has the SHA-256 {digest.hexdigest()[:12]}..., not {expected[:12].lower()}...; it is damaged or of "
            "another revision: delete it and get it again, or set {0} to take it as it is.",
            "any_revision",
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Copies, as a file that is replaced later must not change them. It is opened again for each part: what was looked
    at counts as memory of this process for as long as the file is open."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        while len(tensors) < len(names):
            read = 0
            with safe_open(path, framework="pt") as file:
                for name in names[len(tensors) :]:
                    tensors[name] = file.get_tensor(name).clone()
                    read += tensors[name].nbytes
                    if read > _PART_BYTES:
                        break
        return tensors
    except MemoryError as error:
        raise _too_large(path) from error
    except Exception as error:  # safetensors' own, and what torch makes of shapes and types that cannot be
        raise WeightsError(f"{path} is damaged or cut short ({error}); download it again.") from error


def _read_checkpoint(path: Path) -> Any:
    import torch

    try:
        with open(path, "rb") as file:  # given a path, torch would believe its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise _too_large(path) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is damaged or holds more than tensors; objects that run code are not loaded: save its state dict "
            "as safetensors where you trust it."
        ) from error
    except Exception as error:  # what a damaged pickle raises has no end
        raise WeightsError(f"{path} is damaged, cut short or not a PyTorch checkpoint; download it again.") from error


def _too_large(path: Path) -> WeightsError:
    return WeightsError(f"{path} does not fit into memory; close other programs, or give a smaller model.")


def _tensors_in(path: Path, content: Any) -> dict[str, Tensor]:
    import torch

    for _ in range(_MOST_WRAPPERS):  # a crafted one may hold itself
        if not isinstance(content, Mapping):
            break
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            if all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()):
                return dict(content)
            break
        content = inner
    raise WeightsError(f"{path} does not map names to tensors; give a state dict.")
