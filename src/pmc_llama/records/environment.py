"""`environment.json`: what a run ran on."""

import msgspec


class Gpu(msgspec.Struct, frozen=True):
    """One accelerator."""

    name: str
    memory_bytes: int


class Hardware(msgspec.Struct, frozen=True):
    """The machine."""

    cpu: str
    cores: int | None
    memory_bytes: int
    gpus: list[Gpu] = []


class GitState(msgspec.Struct, frozen=True):
    """The checkout that the package was run from."""

    commit: str
    dirty: bool


class Environment(msgspec.Struct, frozen=True):
    """Versions of what matters to the numbers, the commit, and the hardware."""

    python: str
    platform: str = ""
    packages: dict[str, str | None] = {}
    git: GitState | None = None
    hardware: Hardware | None = None
