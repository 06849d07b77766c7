"""The errors of the package.

Every message says what was given (its name and value), the rule that it breaks, and a remedy.
All are `DesmezclaError`, so that a program needs to catch one class; the command line turns them
into one line without a traceback.
"""


class DesmezclaError(Exception):
    """Anything that desmezcla refuses or could not do, with a text meant for people."""


class ParameterError(DesmezclaError, ValueError):
    """An argument or an option has a value that the rules do not allow."""


class AudioFileError(DesmezclaError):
    """An audio file could not be read or written."""


class ReleaseError(DesmezclaError):
    """A release (a trained model with a name) is unknown, damaged or could not be fetched."""


class DatasetError(DesmezclaError):
    """A dataset folder or manifest is not what it should be."""


class EvaluationError(DesmezclaError):
    """References and estimates cannot be scored against each other."""


def without_torch(what: str) -> DesmezclaError:
    """Return the error of what cannot be done where PyTorch is not installed."""
    return DesmezclaError(
        f"{what} needs PyTorch, which is not installed; install it with: pip install desmezcla"
    )
