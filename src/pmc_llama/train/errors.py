"""How a run ends early: stopped on request, or for a reason that a person must look at."""

from pmc_llama.errors import PmcLlamaError


class Stopped(Exception):
    """The run was asked to stop and saved what it needs to go on; the same command continues it."""


class TrainingError(PmcLlamaError):
    """Training cannot go on: a loss or gradient is not finite, or a batch has nothing to learn from."""
