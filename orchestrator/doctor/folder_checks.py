"""The checks of folders by `regatta doctor`: where runs, sockets and scripts lie."""

from __future__ import annotations

from pathlib import Path

from orchestrator.doctor.check import GIB, Check, Status

LONGEST_TMPDIR = 25
"""Characters; below a longer one there is no room for the paths of Ray's sockets."""
PACKAGES = ("orchestrator", "workers", "jobs")


def disk(folder: Path, nearest: Path, free: int, writable: bool) -> Check:
    detail = f"{free / GIB:.1f} GiB free for {folder}"
    if not writable:
        return Check("Disk", Status.FAIL, f"{nearest} is not writable", "choose another folder with --out")
    if free < GIB / 4:
        return Check("Disk", Status.FAIL, detail, "free some space, or choose another folder with --out")
    if free < 2 * GIB:
        return Check("Disk", Status.WARN, detail, "free some space: checkpoints of a large model may not fit")
    return Check("Disk", Status.OK, detail)


def own_folder(temporary: str, problem: str | None) -> Check:
    """Whether there is a folder for sockets and logs that only this user can read."""
    if problem is not None:
        return Check("Temporary", Status.FAIL, problem, "make it yours alone, or choose another one")
    if len(temporary) > LONGEST_TMPDIR:
        detail = f"{temporary} is too long for sockets: those go to /tmp"
        return Check("Temporary", Status.OK, detail)
    return Check("Temporary", Status.OK, f"{temporary} has a folder that only you can read")


def shadowing(folder: Path, home: Path) -> Check:
    """Whether `folder` has folders with the names of Regatta's packages, which lie in `home`."""
    same_names = [name for name in PACKAGES if (folder / name).is_dir() and folder.resolve() != home.resolve()]
    if not same_names:
        return Check("Folder", Status.OK, f"nothing in {folder} has the name of a package of Regatta")
    names = " and ".join(f"{name}/" for name in same_names)
    detail = f"{names} in {folder}: Python scripts run here import these instead; `regatta` and its replicas do not"
    return Check("Folder", Status.OK, detail, "run scripts that use the Python API with `python -P`")
