from lib.utils.exception_chain import MAX_LENGTH, exception_chain


def test_the_chain_follows_cause_and_context():
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904
    except ValueError as error:
        third = RuntimeError("third")
        third.__cause__ = error
    assert [type(e) for e in exception_chain(third)] == [RuntimeError, ValueError, KeyError]
    assert list(exception_chain(None)) == []


def test_a_circle_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert len(list(exception_chain(first))) == MAX_LENGTH
