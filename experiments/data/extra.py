"""The packages that files of data are read with, which come with an extra."""

from collections.abc import Generator
from contextlib import contextmanager

from experiments.data.source_files import DataError


@contextmanager
def extra_data() -> Generator[None]:
    """Names the extra `data` if what is imported in this context is not installed.

    Yields:
        Nothing.

    Raises:
        DataError: in place of a ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise DataError(
            f'These data need {error.name}, of the extra `data`: pip install ".[data]"'
        ) from error
