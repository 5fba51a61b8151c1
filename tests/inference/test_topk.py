from itertools import pairwise

import numpy as np
import pytest

from lib.inference import topk
from lib.inference.topk import TopK


def made(n, k=3):
    rng = np.random.default_rng(n)
    probs = np.sort(rng.random((n, k)), 1)[:, ::-1].astype(np.float16)
    return {
        "class": rng.integers(0, 99, (n, k)).astype(np.int16),
        "prob": probs,
        "rest": rng.random(n).astype(np.float16),
    }


@pytest.mark.parametrize("cuts", [(7,), (0, 2, 7, 7), (1, 3)])
def test_pieces_give_the_bytes_of_whole_arrays(tmp_path, cuts):
    whole = made(7)
    edges = [0, *cuts, 7]
    pieces = (
        {name: values[start:stop] for name, values in whole.items()}
        for start, stop in pairwise(edges)
    )
    image = np.arange(7) * 3
    topk.write(tmp_path, "plain", image, 3, pieces)
    np.save(tmp_path / "image_whole.npy", image)
    for name, values in whole.items():
        np.save(tmp_path / f"{name}_whole.npy", values)
        written = (tmp_path / f"plain_{name}.npy").read_bytes()
        assert written == (tmp_path / f"{name}_whole.npy").read_bytes()
    assert (tmp_path / "image.npy").read_bytes() == (tmp_path / "image_whole.npy").read_bytes()


@pytest.mark.parametrize("n", [0, 5])
def test_what_is_saved_is_read(tmp_path, n):
    whole = made(n)
    saved = TopK(np.arange(n), whole["class"], whole["prob"].astype(np.float32), whole["rest"])
    saved.save(tmp_path)
    found = topk.read(tmp_path)
    assert (found.probs.dtype, found.rest.dtype) == (np.float32, np.float32)
    for name in ("image", "classes", "probs", "rest"):
        np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))


def test_rows_that_are_missing_are_noticed(tmp_path):
    with pytest.raises(ValueError, match="4 rows for 5 pictures"):
        topk.write(tmp_path, "top", np.arange(5), 3, [made(3), made(1)])
