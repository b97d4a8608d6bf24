"""Builds the C extension; all the rest is in pyproject.toml."""

import shlex
import subprocess

from setuptools import Extension, setup


def pkg_config(option: str) -> list[str]:
    command = ["pkg-config", option, "fuse3"]
    try:
        return shlex.split(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            "msfs-fuse needs libfuse 3 and its headers to build:\n"
            "  apt-get install gcc pkg-config libfuse3-dev python3-dev"
        ) from error


setup(
    ext_modules=[
        Extension(
            "msfs_fuse.fuse._interpose",
            [
                f"msfs_fuse/fuse/{name}.c"
                for name in ("_interpose", "_loop", "_messages", "_caller", "_notify", "_devices")
            ],
            depends=["msfs_fuse/fuse/_extension.h"],
            extra_compile_args=[
                *pkg_config("--cflags"),
                "-std=gnu11",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-Wno-missing-field-initializers",
            ],
            extra_link_args=pkg_config("--libs"),
        )
    ]
)
