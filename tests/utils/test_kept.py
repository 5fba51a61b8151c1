from concurrent.futures import ThreadPoolExecutor

from lib.utils.kept import forget, keeping, kept

calls = []


@kept
def load(name, *, scale=1):
    calls.append(name)
    return [name] * scale


def test_a_result_is_loaded_once_within_a_block_and_again_outside():
    calls.clear()
    results = {}
    with keeping(results):
        first = load("a", scale=2)
        assert load("b") == ["b"]
    assert load("a", scale=2) is not first
    with keeping(results), ThreadPoolExecutor(1) as pool:
        assert load("a", scale=2) is first
        assert pool.submit(load, "a", scale=2).result() is first  # threads of the block too
        assert load("a") == ["a"]
    assert calls == ["a", "b", "a", "a"]


def test_results_of_what_is_gone_are_forgotten():
    results = {}
    with keeping(results):
        first, second = load("/old/a"), load("/new/a")
        forget(results, "/old/")
        assert load("/new/a") is second
        assert load("/old/a") is not first


def test_blocks_do_not_share_results():
    with keeping({}):
        outer = load("a")
        with keeping({}):
            assert load("a") is not outer
        assert load("a") is outer
