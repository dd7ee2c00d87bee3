"""Checks of this machine and this installation; no broker is asked."""

import importlib.util
import os
import platform
import sys
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

from streams.doctor.check import Check, fail, ok, warn
from streams.settings import Settings

PACKAGES = ("schemas", "kernels", "streams")
_OLDEST, _NEWEST = (3, 11), (3, 13)


def machine_checks(settings: Settings) -> list[Check]:
    """Python, platform, kernels, name clashes, settings."""
    return [
        python(sys.version_info[:2]),
        system(platform.system()),
        kernels(Path(_home("kernels")), os.environ.get("GRIDLOOM_PURE", "")),
        *(name_clash(package, sys.path) for package in PACKAGES),
        in_force(settings),
    ]


def python(version: tuple[int, ...]) -> Check:
    """3.11 to 3.13 are tested."""
    text = ".".join(map(str, version))
    if not _OLDEST <= version <= _NEWEST:
        return fail("python", text, "use Python 3.11, 3.12 or 3.13")
    return ok("python", f"{text} at {sys.executable}")


def system(name: str) -> Check:
    """Workers end with their parent by a Linux call; elsewhere nothing is promised."""
    found = f"{name} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    if name != "Linux":
        return warn("platform", found, "run on Linux; other systems are not tested")
    return ok("platform", found)


def kernels(folder: Path, pure: str) -> Check:
    """Every .pyx has its compiled module beside it, unless the plain twins are asked for."""
    if pure not in ("", "0"):
        return warn("kernels", "plain twins (GRIDLOOM_PURE is set)", "unset it: they are slow")
    sources = sorted(folder.rglob("*.pyx"))
    missing = [
        str(source.relative_to(folder))
        for source in sources
        if not any(source.with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES)
    ]
    if missing:
        return fail(
            "kernels",
            f"not compiled: {', '.join(missing)}",
            "`make setup` (needs a C compiler), or GRIDLOOM_PURE=1 for the plain twins",
        )
    return ok("kernels", f"{len(sources)} compiled")


def name_clash(package: str, path: list[str]) -> Check:
    """Whether another package of this plain name could be imported instead of ours."""
    ours = Path(_home(package)).resolve()
    others = set()
    for entry in path:
        spec = PathFinder.find_spec(package, [entry or "."])
        for place in spec.submodule_search_locations or () if spec else ():
            if Path(place).resolve() != ours:
                others.add(str(Path(place).resolve()))
    if others:
        return warn(
            f"package {package}",
            f"{ours}; another one at {', '.join(sorted(others))}",
            "give gridloom an environment of its own; the first on the path is used",
        )
    return ok(f"package {package}", str(ours))


def in_force(settings: Settings) -> Check:
    """Settings that are not the default, never the password."""
    shown = [
        f"{name}={'(set)' if 'password' in name else getattr(settings, name)}"
        for name, field in type(settings).model_fields.items()
        if getattr(settings, name) != field.default
    ]
    return ok("settings", ", ".join(shown) or "all at their defaults")


def _home(package: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is part of this installation"
    assert spec.submodule_search_locations, f"{package} is a package"
    return spec.submodule_search_locations[0]
