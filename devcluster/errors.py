"""The one error of this package: a sentence for the person at the terminal."""


class DevclusterError(Exception):
    """What went wrong and what to do about it. The CLI prints it and exits with 1, without a traceback."""
