"""Compiles every Cython kernel (kernels/**/*.pyx); all other packaging lives in pyproject.toml."""

import platform
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}


X86 = platform.machine() in ("x86_64", "AMD64")


def extension(path: Path) -> Extension:
    # *_avx2.pyx is chosen at run time, where the machine has it; no FMA, so the bits are the same
    wide = ["-mavx2"] if X86 and path.stem.endswith("_avx2") else []
    return Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=[numpy.get_include(), str(path.parent)],
        depends=[str(header) for header in path.parent.glob("*.h")],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        # no -ffast-math, no -march: results must not depend on the machine that compiled them
        extra_compile_args=["-O3", "-ffp-contract=off", *wide],
    )


setup(
    ext_modules=cythonize(
        [extension(path) for path in sorted(Path("kernels").rglob("*.pyx"))],
        compiler_directives=DIRECTIVES,
    )
)
