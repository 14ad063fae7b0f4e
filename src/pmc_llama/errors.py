"""The one exception a user is meant to read: a sentence that says what was wrong and what was expected."""


class PmcLlamaError(Exception):
    """A mistake in the input or the recipe; the command line prints it without a traceback and exits with 2."""


class RecipeError(PmcLlamaError):
    """A recipe key or value that cannot be used; names the path, the value and what was expected."""


class InputError(PmcLlamaError):
    """An input file that could not be read, or that is not what the recipe says it is."""


class StoreError(PmcLlamaError):
    """A token store that is damaged, or does not belong to the tokenizer or corpus it is used with."""


class CheckpointError(PmcLlamaError):
    """A checkpoint that cannot be resumed from, because it is missing, damaged or of another run."""


class TrainingError(PmcLlamaError):
    """Training cannot go on: a loss or gradient is not finite, or a batch has nothing to learn from."""


class Stopped(Exception):
    """Work that was asked to stop (a signal, a time limit) and saved its state; the same command continues it."""
