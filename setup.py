"""Compiles every Cython kernel (kernels/**/*.pyx); all other packaging lives in pyproject.toml."""

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


def extension(path: Path) -> Extension:
    return Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=[numpy.get_include(), str(path.parent)],
        depends=[str(header) for header in path.parent.glob("*.h")],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        # no -ffast-math, no -march: results must not depend on the machine that compiled them
        extra_compile_args=["-O3", "-ffp-contract=off"],
    )


setup(
    ext_modules=cythonize(
        [extension(path) for path in sorted(Path("kernels").rglob("*.pyx"))],
        compiler_directives=DIRECTIVES,
    )
)
