import cv2
import numpy as np
import pytest

from lib.catalogue.classes import build_classes
from lib.catalogue.index import index_bson
from lib.catalogue.reader import GREY, PictureReader
from lib.catalogue.tables import read_catalogue, read_classes
from tests.conftest import jpeg, product


@pytest.fixture
def known(tmp_path, write_bson, write_categories):
    pictures = [jpeg(i) for i in range(20)]
    pictures[7] = b"no picture at all"
    path = write_bson([product(i, [p], 10) for i, p in enumerate(pictures)])
    build_classes(tmp_path, write_categories([10]))
    index_bson(tmp_path, path, read_classes(tmp_path), True, 0.0)
    return read_catalogue(tmp_path, path)


def test_whole_pictures_equal_a_plain_decode(known):
    rows = np.array([3, 1, 19])
    with PictureReader(known, (40, 32), 2) as reader:
        ((got, pictures),) = reader.batches(rows, 8, (40, 32))
    assert got.tolist() == [3, 1, 19]
    assert pictures.shape == (3, 3, 40, 32)
    assert pictures.dtype == np.uint8
    for row, picture in zip(rows, pictures, strict=True):
        plain = cv2.imdecode(np.frombuffer(jpeg(int(row)), np.uint8), cv2.IMREAD_COLOR)
        assert (picture.transpose(1, 2, 0) == plain[:, :, ::-1]).all()


def test_a_rotten_picture_is_grey_and_counted(known):
    with PictureReader(known, (20, 16), 2) as reader:
        pictures = np.concatenate([p for _, p in reader.batches(np.arange(20), 6, (20, 16))])
        assert np.flatnonzero(reader.rotten).tolist() == [7]
        assert reader.first_rotten == (7, "not a picture")
    assert (pictures[7] == GREY).all()
    assert (pictures[6] != GREY).any()


def test_a_picture_beyond_the_end_is_rotten(known):
    known.path.write_bytes(known.path.read_bytes()[: int(known.offset[19]) + 3])
    with PictureReader(known, (20, 16), 1) as reader:
        reader.decode(19)
        assert reader.first_rotten == (19, "beyond the file's end")


def test_augmented_batches_depend_on_the_seed_alone(known):
    def run(seed: int, threads: int) -> np.ndarray:
        with PictureReader(known, (40, 32), threads) as reader:
            seeds = np.random.SeedSequence(seed)
            batches = reader.batches(np.arange(20), 3, (30, 24), seeds, flip=True)
            return np.concatenate([pictures for _, pictures in batches])

    first = run(1, 1)
    assert first.shape == (20, 3, 30, 24)
    assert (first == run(1, 4)).all()
    assert (first != run(2, 4)).any()


def test_an_augmented_picture_is_a_cut_of_the_whole(known):
    with PictureReader(known, (40, 32), 2) as reader:
        whole = reader.decode(5).transpose(2, 0, 1)
        seen = set()
        for seed in range(30):
            seeds = np.random.SeedSequence(seed)
            ((_, pictures),) = reader.batches(np.array([5]), 1, (38, 31), seeds, flip=True)
            cuts = {
                (top, left, mirrored): whole[:, top : top + 38, left : left + 31][
                    :, :, :: -1 if mirrored else 1
                ]
                for top in range(3)
                for left in range(2)
                for mirrored in (False, True)
            }
            matches = [key for key, cut in cuts.items() if (cut == pictures[0]).all()]
            assert matches
            seen.add(matches[0])
    assert len(seen) > 6
