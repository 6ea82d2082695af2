"""A real Blender with a screen: Debian's, in a tree of its own under Xvfb. `python window_tree.py` makes the tree.

    sudo python tests/blender/window_tree.py    # 2 minutes, 1.3 GB, from the mirror that the system's apt uses

It goes to `.cache/blender-window` in the project, or to the folder that `PRO_BLENDER_TREE` names, and stays until it is
removed. Nothing is installed outside the tree. Whatever runs in it has mounts, processes and a network (none) of its
own, all of which the kernel takes away when it ends or is killed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SUITE = "trixie"  # Blender 4.3 and Python 3.13
PACKAGES = ("blender", "python3-numpy", "xvfb", "libgl1-mesa-dri", "libegl1", "libgl1")
RECIPE = json.dumps([SUITE, *PACKAGES])
STAMP = "blender-window.json"  # holds the recipe of a tree that is whole
HOST = "host"  # in the tree, while something runs there: the root folder of the system
STEP_LIMIT_S = 900
ALONE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
MOUNT_SYSTEM = 'mkdir -p "$tree/proc" "$tree/dev"; mount -t proc proc "$tree/proc"; mount --rbind /dev "$tree/dev"'


class NotRun(Exception):  # noqa: N818 it is no error of the project
    """Why there is no Blender window here, in one sentence that starts with "not run: "."""

    def __init__(self, why: str) -> None:
        super().__init__(f"not run: {why}")


def tree_folder() -> Path:
    """Where the tree is or is to be."""
    chosen = os.environ.get("PRO_BLENDER_TREE")
    return Path(chosen).absolute() if chosen else Path(__file__).resolve().parents[2] / ".cache" / "blender-window"


def find_tree() -> Path:
    """The tree, ready for use. NotRun: there is none, or it cannot be entered."""
    tree = tree_folder()
    if not _is_whole(tree):
        raise NotRun(f"there is no tree with Blender in {tree}; make it with `python tests/blender/window_tree.py`.")
    check_rights()
    return tree


def make_tree() -> Path:
    """Make the tree if there is none of this recipe; it appears whole or not at all. NotRun: it cannot be made."""
    tree = tree_folder()
    if _is_whole(tree):
        return tree
    check_rights()
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{tree.name}.", dir=tree.parent) as folder:
        new = Path(folder) / "tree"
        _unpack(new, Path(folder))
        (new / STAMP).write_text(RECIPE)
        if tree.exists():  # of an older recipe
            tree.rename(Path(folder) / "old")
        new.rename(tree)
    return tree


def command_in_tree(
    tree: Path, command: Sequence[str], *, shared: Path, environment: Mapping[str, str] | None = None
) -> list[str]:
    """What runs a command in the tree, as process 1 of a world of its own.

    It sees the folder `shared` at the path it has outside, an empty /tmp, and the whole system in /host. There is no
    network. When it ends, or the process that runs this is killed, all that it started is killed.
    """
    variables = ["PATH=/usr/bin:/usr/sbin", "HOME=/tmp", "LANG=C.UTF-8"]
    variables += [f"{name}={value}" for name, value in (environment or {}).items()]
    script = (
        f'tree={shlex.quote(str(tree))}; shared={shlex.quote(str(shared))}; {MOUNT_SYSTEM}; mkdir -p "$tree/{HOST}"'
        f'; mount --rbind / "$tree/{HOST}"; mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"; mkdir -p "$tree$shared"'
        '; mount --bind "$shared" "$tree$shared"; exec chroot "$tree" "$@"'
    )
    return [*ALONE, "--net", "--ipc", "sh", "-euc", script, "sh", "env", "-i", *variables, *command]


def _is_whole(tree: Path) -> bool:
    try:
        return (tree / STAMP).read_text() == RECIPE
    except OSError:
        return False


def check_rights() -> None:
    """Only root makes mounts, and not in every container."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise NotRun("the tree with Blender needs Linux and root.")
    if lacking := [name for name in ("unshare", "chroot", "mount") if shutil.which(name) is None]:
        raise NotRun(f"{lacking[0]} is not installed.")
    tried = subprocess.run([*ALONE, "--net", "--ipc", "true"], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode:
        raise NotRun(f"this system does not let root make mounts of its own ({_last_line(tried.stderr)}).")


def _unpack(tree: Path, work: Path) -> None:
    """Debian's smallest system and Blender. What is not needed to run it goes again."""
    program, environment = _debootstrap(work)
    tree.mkdir()
    made = [program, "--variant=minbase", SUITE, str(tree), _mirror()]
    _step("the tree could not be made", [*ALONE, *made], environment)
    settings = _step("apt does not tell its settings", ["apt-config", "dump"]).splitlines()
    kept = [line for line in settings if line.startswith(("Acquire::http", "Acquire::Retries"))]
    (tree / "etc/apt/apt.conf.d/80host").write_text("\n".join(kept) + "\n")
    script = (
        f"tree={shlex.quote(str(tree))}; {MOUNT_SYSTEM}; export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8"
        f'; chroot "$tree" apt-get -qq update; chroot "$tree" apt-get -qq -y install --no-install-recommends '
        f'{shlex.join(PACKAGES)}; chroot "$tree" apt-get clean; rm -rf "$tree"/var/lib/apt/lists/*'
    )
    _step("Blender could not be installed in the tree", [*ALONE, "sh", "-euc", script])


def _debootstrap(work: Path) -> tuple[str, dict[str, str]]:
    """The program and what it wants in its environment; unpacked, not installed, where the system has none."""
    if found := shutil.which("debootstrap"):
        return found, {}
    if shutil.which("apt-get") is None or shutil.which("wget") is None:
        raise NotRun("there is neither debootstrap nor apt-get with wget; install debootstrap.")
    folder = work / "debootstrap"
    folder.mkdir()
    script = "apt-get -qq download debootstrap || { apt-get -qq update && apt-get -qq download debootstrap; }"
    _step("debootstrap could not be fetched", ["sh", "-euc", f"{script}; dpkg-deb -x debootstrap_*.deb ."], cwd=folder)
    return str(folder / "usr/sbin/debootstrap"), {"DEBOOTSTRAP_DIR": str(folder / "usr/share/debootstrap")}


def _mirror() -> str:
    """Where the system gets Debian from."""
    wanted = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"]
    for line in _step("apt does not tell its sources", wanted).splitlines():
        origin, label, address = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return address
    raise NotRun("the sources of apt name no mirror of Debian; run `apt-get update`, or use a Debian system.")


def _step(
    failure: str, command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """What a command prints. NotRun: it failed."""
    own = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(
            command, env=own, cwd=cwd, capture_output=True, text=True, timeout=STEP_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRun(f"{failure} ({error}).") from error
    if done.returncode:
        raise NotRun(f"{failure} ({_last_line(done.stderr or done.stdout)}).")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def main() -> int:
    """Make the tree and say where it is."""
    begun_s = time.monotonic()
    try:
        tree = make_tree()
    except NotRun as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"{tree}, after {time.monotonic() - begun_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
