import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from lib.inference.topk import TopK, write_chunks
from tests.conftest import ROOT


def make_arrays(n, k=3):
    rng = np.random.default_rng(n)
    probs = np.sort(rng.random((n, k)), 1)[:, ::-1].astype(np.float16)
    return {
        "class": rng.integers(0, 99, (n, k)).astype(np.int16),
        "prob": probs,
        "rest": rng.random(n).astype(np.float16),
    }


@pytest.mark.parametrize("cuts", [(7,), (0, 2, 7, 7), (1, 3)])
def test_chunks_give_the_bytes_of_whole_arrays(tmp_path, cuts):
    whole = make_arrays(7)
    edges = [0, *cuts, 7]
    chunks = (
        {name: values[start:stop] for name, values in whole.items()}
        for start, stop in pairwise(edges)
    )
    image = np.arange(7) * 3
    write_chunks(tmp_path, "center", image, 3, chunks)
    np.save(tmp_path / "image_whole.npy", image)
    for name, values in whole.items():
        np.save(tmp_path / f"{name}_whole.npy", values)
        written = (tmp_path / f"center_{name}.npy").read_bytes()
        assert written == (tmp_path / f"{name}_whole.npy").read_bytes()
    assert (tmp_path / "image.npy").read_bytes() == (tmp_path / "image_whole.npy").read_bytes()


@pytest.mark.parametrize("n", [0, 5])
def test_load_returns_what_save_wrote(tmp_path, n):
    whole = make_arrays(n)
    saved = TopK(np.arange(n), whole["class"], whole["prob"].astype(np.float32), whole["rest"])
    saved.save(tmp_path)
    loaded = TopK.load(tmp_path)
    assert (loaded.probs.dtype, loaded.rest.dtype) == (np.float32, np.float32)
    for name in ("image", "classes", "probs", "rest"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))


def test_products_without_images_stand_in_a_folder_of_their_own(tmp_path):
    first, second = (
        TopK(np.arange(n), *(make_arrays(n)[name] for name in ("class", "prob", "rest")))
        for n in (7, 2)
    )
    TopK(first.image, first.classes, first.probs, first.rest, second).save(tmp_path)
    loaded = TopK.load(tmp_path)
    np.testing.assert_array_equal(loaded.classes, first.classes)
    assert loaded.imageless is not None
    np.testing.assert_array_equal(loaded.imageless.classes, second.classes)
    assert loaded.imageless.imageless is None
    some = loaded.for_products(np.array([1, 5])).imageless  # a partition has its own alone
    assert some is not None
    assert some.image.tolist() == [1]
    np.testing.assert_array_equal(some.probs, loaded.imageless.probs[1:])
    assert loaded.for_products(np.array([5])).imageless is None


def test_missing_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="4 rows for 5 images"):
        write_chunks(tmp_path, "tta", np.arange(5), 3, [make_arrays(3), make_arrays(1)])


def test_the_module_does_not_import_torch():
    """Processes that train boosters read top-k files and would pay for it in time and memory."""
    code = "import sys, lib.inference.topk; sys.exit('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert process.returncode == 0
