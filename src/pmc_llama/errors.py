"""The one exception a user is meant to read: a sentence that says what was wrong and what was expected."""


class PmcLlamaError(Exception):
    """A mistake in the input or the recipe; the command line prints it without a traceback and exits with 2."""


class RecipeError(PmcLlamaError):
    """A recipe key or value that cannot be used; names the path, the value and what was expected."""


class StorageError(PmcLlamaError):
    """A file that cannot be written: the disk is full, the folder may not be written to, the name is too long."""


class InputError(PmcLlamaError):
    """An input file that could not be read, or that is not what the recipe says it is."""


class StoreError(PmcLlamaError):
    """A token store that is damaged, or does not belong to the tokenizer or corpus it is used with."""


class CheckpointError(PmcLlamaError):
    """A checkpoint that cannot be resumed from, because it is missing, damaged or of another run."""


class TrainingError(PmcLlamaError):
    """Training cannot go on: a loss or gradient is not finite, or a batch has nothing to learn from."""


STOPPED = 75
"""Exit status of work that was told to stop and goes on later: EX_TEMPFAIL of BSD's sysexits.h, for batch systems."""
INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""


class Stopped(BaseException):
    """Work that was asked to stop (a signal, a time limit) and kept what it had; the same command continues it.

    Like KeyboardInterrupt it is no Exception, so that nothing takes it for an error to be handled.
    """

    def __init__(self, message: str, status: int = STOPPED) -> None:
        super().__init__(message)
        self.status = status
