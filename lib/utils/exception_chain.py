"""The exceptions that an exception came from: a library may turn an error into one of its own."""

from collections.abc import Iterator

MAX_LENGTH = 20


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what it was raised from or while handling, and so on; at most MAX_LENGTH."""
    for _ in range(MAX_LENGTH):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
