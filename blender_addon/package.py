# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds and checks the zip that Blender installs: `python blender_addon/package.py`. Itself not in the zip.

First come checks that Blender's own tool does not make, then the zip, then the tool's checks of the zip where a Blender
is found. Beside the zip goes index.json: with it the folder is a repository of extensions for any web server, from
which Blender installs, and in which it looks for updates. The same files give the same bytes, on any machine. Needs the
standard library of Python 3.11 only.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import tomllib

FOLDER = Path(__file__).resolve().parent
MANIFEST, LICENCE_FILE = "blender_manifest.toml", "LICENSE"
LICENCE, ENGINE_LICENCE, OLDEST_BLENDER = "GPL-3.0-or-later", "Apache-2.0", "4.2.0"
MAX_BYTES = 2_000_000
COPIES = {  # the same bytes as in the engine, under its licence
    "maths/layers.py": "pro_engine/geometry/layers.py",
    "maths/push_pull.py": "pro_engine/geometry/push_pull.py",
    "maths/sheets.py": "pro_engine/geometry/sheets.py",
}
OPTIONS_FILE = "options.json"  # what the engine declares; `options.py` reads it
LEFT_OUT = frozenset({"__pycache__", "package.py"})  # and what begins with a dot; the manifest tells Blender the same
KEYS = frozenset(
    {"schema_version", "id", "version", "name", "tagline", "maintainer", "type", "website", "tags", "license",
     "blender_version_min", "blender_version_max", "copyright", "permissions", "platforms", "wheels", "build"}
)  # fmt: skip
PLATFORMS = frozenset({"windows-x64", "windows-arm64", "macos-x64", "macos-arm64", "linux-x64"})
PACKAGES = frozenset({"bmesh", "bpy", "bpy_extras", "gpu", "gpu_extras", "mathutils", "numpy"})
NO_MODULES = frozenset(  # of the standard library: they connect, or install
    {"asyncio", "ensurepip", "ftplib", "http", "imaplib", "poplib", "site", "smtplib", "socket", "socketserver", "ssl",
     "urllib", "venv", "webbrowser", "xmlrpc"}
)  # fmt: skip
NO_NAMES = frozenset({"sys.path", "sys.modules", "sys.meta_path", "sys.path_hooks"})  # Blender's
TOOL, TAGS = "scripts/addons_core/bl_pkg/cli/blender_ext.py", "scripts/modules/_bpy_internal/extensions/tags.py"
INDEX = "index.json"  # as `blender --command extension server-generate` writes it
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold


def files_of(folder: Path) -> list[Path]:
    """The files that go into the zip, in the order of their names."""
    found = (path for path in folder.rglob("*") if path.is_file())
    parts = {path: path.relative_to(folder).parts for path in found}
    return sorted(path for path, names in parts.items() if not any(n in LEFT_OUT or n.startswith(".") for n in names))


def problems(folder: Path, version: str) -> list[str]:
    """Whatever is wrong with the add-on in `folder` that Blender's tool lets pass, one sentence each.

    `version` is the engine's, which the add-on shares.
    """
    try:
        manifest = tomllib.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        return [f"{MANIFEST} cannot be read ({error})."]
    found = [f"{MANIFEST}: {problem}" for problem in _problems_of_manifest(manifest, version)]
    text = folder / LICENCE_FILE
    if not text.is_file() or "GNU GENERAL PUBLIC LICENSE" not in text.read_text("utf-8"):
        found.append(f"{LICENCE_FILE} is not the text of the {LICENCE} licence.")
    for path in files_of(folder):
        if path.suffix == ".py":
            where = path.relative_to(folder).as_posix()
            licence = ENGINE_LICENCE if where in COPIES else LICENCE
            source = _problems_of_source(path.read_text("utf-8"), licence)
            found += [f"{where}:{line}: {problem}" for line, problem in source]
    return found


def _problems_of_manifest(manifest: Mapping[str, Any], version: str) -> Iterator[str]:
    for key in sorted(set(manifest) - KEYS):
        yield f"the key {key} is unknown."
    if manifest.get("version") != version:
        yield f"version is {manifest.get('version')}, but the engine's is {version}."
    if manifest.get("license") != [f"SPDX:{LICENCE}"]:
        yield f'license is {manifest.get("license")}; it must be ["SPDX:{LICENCE}"].'
    if manifest.get("blender_version_min") != OLDEST_BLENDER:
        yield f"blender_version_min is {manifest.get('blender_version_min')}; it must be {OLDEST_BLENDER}."
    for platform in manifest.get("platforms", ()):
        if platform not in PLATFORMS:
            yield f"the platform {platform} is unknown; Blender knows {', '.join(sorted(PLATFORMS))}."
    if manifest.get("wheels"):
        yield "wheels are listed; the add-on needs none."
    for permission in sorted(set(manifest.get("permissions", {})) - {"files", "network"}):
        yield f"the permission {permission} is asked for; the add-on needs files and network only."


def _problems_of_source(source: str, licence: str) -> Iterator[tuple[int, str]]:
    """(line, problem) of what a source may not do: come without licence, import what is banned, meddle with sys."""
    if not source.startswith(f"# SPDX-License-Identifier: {licence}\n"):
        yield 1, f"the first line does not say that the licence is {licence}."
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.stmt, ast.expr)):
            continue
        for module in _imported(node):
            top = module.partition(".")[0]
            if top in NO_MODULES or module in NO_NAMES or (top not in PACKAGES and top not in sys.stdlib_module_names):
                yield node.lineno, f"{module} may not be imported."
        if isinstance(node, ast.Attribute) and ast.unparse(node) in NO_NAMES:
            yield node.lineno, f"{ast.unparse(node)} is Blender's; leave it alone."
        if isinstance(node, ast.Name) and node.id == "bl_info" and isinstance(node.ctx, ast.Store):
            yield node.lineno, f"bl_info is for add-ons without {MANIFEST}."


def _imported(node: ast.AST) -> list[str]:
    """The modules outside the add-on that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
            return [name.value]
    return []


def zip_of(folder: Path) -> bytes:
    """The zip. Nothing is compressed: what deflates differs from one Python to the next."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in files_of(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), FIXED_TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as if on Unix
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def index_of(folder: Path, name: str, data: bytes) -> str:
    """The text of the repository's list, which holds the zip called `name`."""
    manifest = tomllib.loads((folder / MANIFEST).read_text("utf-8"))
    listed = {key: value for key, value in manifest.items() if key not in ("build", "wheels")}
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    archive = {"archive_url": f"./{name}", "archive_size": len(data), "archive_hash": digest}
    return json.dumps({"version": "v1", "blocklist": [], "data": [listed | archive]}, indent=2) + "\n"


def engine_version(root: Path) -> str:
    """The version in `pro_engine/__init__.py`, from which setup takes it too."""
    for node in ast.parse((root / "pro_engine" / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise SystemExit(f"{root / 'pro_engine' / '__init__.py'} has no __version__; run this in a clone of the project.")


def engine_options(root: Path) -> str:
    """The text of options.json: the engine's options with default, help and limits, by class and field."""
    sys.path.insert(0, str(root))
    try:
        from pro_engine import options
    finally:
        sys.path.remove(str(root))
    owners = (options.ModelOptions, options.InferenceOptions, options.GeometryOptions)
    declared = {
        owner.__name__: {
            field.name: {
                **field.metadata,
                "choices": options.choices_of(owner, field.name),
                "default": None if field.default is MISSING else field.default,
            }
            for field in options.options_of(owner)
        }
        for owner in owners
    }
    return json.dumps(declared, indent=1, sort_keys=True, default=str) + "\n"


def validator(blender: str | None) -> list[str] | None:
    """The command that validates a zip given as its last argument; None where there is no Blender.

    Args:
        blender: a Blender, or a Python that has Blender as a module; None for `blender` on the PATH or this Python.
    """
    program = blender or shutil.which("blender") or (sys.executable if importlib.util.find_spec("bpy") else None)
    if program is None:
        return None
    if not Path(program).name.lower().startswith("python"):
        return [program, "--factory-startup", "--command", "extension", "validate"]
    ask = "import importlib.util; print(importlib.util.find_spec('bpy').origin)"
    home = Path(subprocess.run([program, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()).parent
    (tool,), (tags,) = home.glob(f"*/{TOOL}"), home.glob(f"*/{TAGS}")
    return [program, str(tool), "validate", "--valid-tags", str(tags)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 if something is wrong, which is said on stderr."""
    parser = argparse.ArgumentParser(description="Builds and checks the zip that Blender installs.")
    parser.add_argument("--output", type=Path, default=FOLDER.parent / "dist", help="folder of the zip")
    parser.add_argument("--blender", help="a Blender, or a Python with Blender as a module, to check the zip with")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    version = engine_version(FOLDER.parent)
    if given.folder == FOLDER:
        (FOLDER / OPTIONS_FILE).write_text(engine_options(FOLDER.parent), "utf-8")
        for copy, original in COPIES.items():
            shutil.copyfile(FOLDER.parent / original, FOLDER / copy)
    wrong = problems(given.folder, version)
    data = b"" if wrong else zip_of(given.folder)
    if len(data) > MAX_BYTES:
        wrong = [f"The zip has {len(data)} bytes; it may have {MAX_BYTES}."]
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    target = given.output / f"pro_depth-{version}.zip"
    unfinished = target.with_name(f".{target.name}")
    unfinished.write_bytes(data)
    try:
        status = validate(unfinished, given.blender)
        if status == 0:
            os.replace(unfinished, target)
            print(f"{target}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
            (given.output / INDEX).write_text(index_of(given.folder, target.name, data), "utf-8")
            print(f"{given.output / INDEX}: put it on a web server beside the zip")
    finally:
        unfinished.unlink(missing_ok=True)
    return status


def validate(path: Path, blender: str | None) -> int:
    """Let Blender's own tool check a zip; its exit status, 0 where there is no Blender, which is said."""
    command = validator(blender)
    if command is None:
        print("Not checked by Blender's own tool: there is no Blender here; name one with --blender.")
        return 0
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"Blender's own tool refuses the zip:\n{done.stdout}{done.stderr}", file=sys.stderr)
        return 1
    print(f"Checked by Blender's own tool, of {command[0]}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
