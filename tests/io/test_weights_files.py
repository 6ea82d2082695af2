"""Weights files: what comes back, and a sentence for everything that is none."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import os
import pickle
import socket
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from pro_engine.errors import DependencyError, FileError, WeightsError
from pro_engine.io.weights import bundled_weights, cached_weights, fetch_weights, read_weights, save_weights

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.0, -2.0]), "count": torch.tensor(7)}


def _same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(torch.equal(found[key], value) for key, value in TENSORS.items())


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "net.safetensors"
    save_weights(path, TENSORS, {"steps": "3"})
    return path


def test_safetensors_come_back_with_their_metadata(saved):
    from safetensors import safe_open

    assert _same(read_weights(saved))
    with safe_open(saved, "pt") as file:
        assert file.metadata() == {"steps": "3"}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("wrapping", [None, "model", "state_dict"])
def test_checkpoints_come_back_whatever_the_suffix(tmp_path, suffix, wrapping):
    path = tmp_path / f"net{suffix}"
    torch.save({wrapping: TENSORS, "epoch": 3} if wrapping else TENSORS, path)
    assert _same(read_weights(path))


def test_a_checkpoint_of_the_old_format_comes_back(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    assert _same(read_weights(path))


def test_saving_takes_any_memory_format_and_shared_tensors(tmp_path):
    maps = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    path = tmp_path / "new" / "net.safetensors"
    save_weights(path, {"maps": maps, "same": maps, "turned": maps.transpose(0, 1)})
    found = read_weights(path)
    assert torch.equal(found["maps"], maps)
    assert torch.equal(found["same"], maps)
    assert torch.equal(found["turned"], maps.transpose(0, 1))


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(FileError, match="disk is full"):
        save_weights(saved, {"other": torch.zeros(1)})
    assert _same(read_weights(saved))
    assert os.listdir(saved.parent) == [saved.name]


def test_the_hash_is_checked(saved):
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert _same(read_weights(saved, sha256=digest.upper()))
    with pytest.raises(WeightsError, match="has the SHA-256"):
        read_weights(saved, sha256="0" * 64)


class _Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def _torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _safetensors_header(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _zip_of_text() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    return buffer.getvalue()


def _dict_of_itself() -> dict[str, object]:
    content: dict[str, object] = {}
    content["model"] = content
    return content


GOOD_CHECKPOINT = _torch_bytes(TENSORS)

BAD = {
    "empty": (b"", "is empty"),
    "web page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "bare html": (b"<html><head></head></html>", "is a web page"),
    "xml error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
    "text": (b"these are not weights at all", "neither a safetensors file nor"),
    "json error": (b'{"error": "Repository not found"}', "neither a safetensors file nor"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(64), "neither a safetensors file nor"),
    "three bytes": (b"\x01\x02\x03", "neither a safetensors file nor"),
    "zeros": (bytes(4096), "neither a safetensors file nor"),
    "cut header": (struct.pack("<Q", 9000) + b'{"a": {"dtype"', "damaged or cut short"),
    "broken header": (struct.pack("<Q", 9) + b'{"a": ?!}' + bytes(64), "damaged or cut short"),
    "cut body": (
        _safetensors_header({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(8)),
        "damaged or cut short",
    ),
    "wrong offsets": (
        _safetensors_header({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}, bytes(8)),
        "damaged or cut short",
    ),
    "huge header": (struct.pack("<Q", 1 << 60) + b"{" + bytes(64), "damaged or cut short"),
    "no tensors": (_safetensors_header({}), "holds no tensors"),
    "cut checkpoint": (GOOD_CHECKPOINT[: len(GOOD_CHECKPOINT) // 2], "damaged, cut short or not"),
    "zip of text": (_zip_of_text(), "damaged, cut short or not"),
    "code in checkpoint": (_torch_bytes({"a": _Malicious()}), "objects that run code are not loaded"),
    "bare pickle with code": (pickle.dumps(_Malicious(), protocol=2), "objects that run code are not loaded|cut short"),
    "whole module": (_torch_bytes(torch.nn.Linear(2, 2)), "objects that run code are not loaded"),
    "a list": (_torch_bytes([torch.zeros(2)]), "does not map names to tensors"),
    "numbers": (_torch_bytes({"a": 1.5}), "does not map names to tensors"),
    "empty dict": (_torch_bytes({}), "holds no tensors"),
    "pickle of nothing": (b"\x80\x02.", "damaged, cut short or not"),
    "pickle without an end": (b"\x80\x02}q\x00", "damaged, cut short or not"),
    "pickle of nonsense": (b"\x80\x02" + bytes(range(256)), "damaged, cut short or not|objects that run code"),
    "dict of itself": (_torch_bytes(_dict_of_itself()), "does not map names to tensors"),
    "type of the future": (
        _safetensors_header({"a": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "damaged or cut short",
    ),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", list(BAD))
def test_what_is_no_weights_gets_one_sentence(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.chdir(tmp_path)
    content, sentence = BAD[kind]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=sentence) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_or_a_folder_gets_one_sentence(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        read_weights(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="is a folder"):
        read_weights(tmp_path)


def test_missing_bundled_weights_are_named():
    with pytest.raises(WeightsError, match=r"absent\.safetensors are missing from this installation"):
        bundled_weights("absent.safetensors")


REPO = "someone/some-model"


def _fetch(tmp_path, **options):
    return fetch_weights(REPO, "model.safetensors", **{"licence": "Apache-2.0", "cache_dir": tmp_path, **options})


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])  # as if there were a network
    return pytest.importorskip("huggingface_hub")


def test_offline_and_not_cached_says_what_to_do(hub, tmp_path):
    assert cached_weights(REPO, "model.safetensors", cache_dir=tmp_path) is None
    with pytest.raises(WeightsError, match=r"offline mode is on; load the model once online, or copy the hub cache"):
        _fetch(tmp_path, offline=True)


def test_a_failed_download_is_one_sentence(hub, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("Name or service not known\nmore\nlines")

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(Name or service not known\)") as caught:
        _fetch(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_a_network_the_hub_is_not_asked_again_and_again(hub, tmp_path, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(hub, "hf_hub_download", lambda *args, **kwargs: pytest.fail("asked"))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(.*name resolution\); check the network"):
        _fetch(tmp_path)


@pytest.mark.parametrize("caution", ["", "No commercial use."])
def test_a_restricted_licence_is_announced_before_the_download(hub, tmp_path, monkeypatch, caution):
    order: list[str] = []

    def download(repo, filename, *, revision, cache_dir):
        order.append(f"download {repo} {filename} {revision}")
        return str(tmp_path / filename)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    _fetch(tmp_path, licence="CC-BY-NC-4.0", caution=caution, announce=order.append, revision="v1")
    assert order[-1] == "download someone/some-model model.safetensors v1"
    assert len(order) == (2 if caution else 1)
    if caution:
        assert "licence CC-BY-NC-4.0: No commercial use. Downloading" in order[0]


def test_the_announcement_can_refuse(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "hf_hub_download", lambda *args, **kwargs: pytest.fail("downloaded"))

    def refuse(notice):
        raise WeightsError("not accepted")

    with pytest.raises(WeightsError, match="not accepted"):
        _fetch(tmp_path, caution="No commercial use.", announce=refuse)


def test_by_default_the_announcement_is_logged(hub, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(hub, "hf_hub_download", lambda repo, filename, **kwargs: filename)
    _fetch(tmp_path, caution="No commercial use.")
    assert "No commercial use" in caplog.text


def test_without_the_hub_package_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r"pro-engine\[hub\]"):
        _fetch(tmp_path)


def test_a_safetensors_file_may_begin_like_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.arange(3.0)}
    for length in range(256):
        save_weights(path, tensors, {"note": "x" * length})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert torch.equal(read_weights(path)["a"], tensors["a"])
