"""Catalogs of bursts: who is whose twin, and what a camera does to a scene."""

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from studies import bursts
from tests.conftest import jpeg

STILL = bursts.Camera(min_area=1, max_rotation=0, max_tilt=0, stops=(0, 0), max_cast=0)


def make_photos(number: int = 120, num_classes: int = 4) -> list[bursts.Photo]:
    """Photographs of random squares, with a class each in turn."""
    return [bursts.Photo(f"class {i % num_classes}", jpeg(i)) for i in range(number)]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scenes(path: Path) -> Counter[str]:
    """The pictures of each scene of a table."""
    return Counter(row["burst"] for row in read(path))


@given(st.integers(0, 300), st.floats(0, 1), st.integers(2, 5), st.integers(0, 5), st.integers(0))
def test_the_wanted_share_of_products_is_in_bursts(number, share, smallest, more, seed):
    burst_size = (smallest, smallest + more)
    sizes = bursts.burst_sizes(number, share, burst_size, np.random.default_rng(seed))
    wanted = round(share * number)
    assert sizes.sum() == number
    assert sizes[sizes > 1].sum() == (wanted if wanted != 1 else 0)
    assert sizes.max(initial=0) <= burst_size[1] + 1
    assert ((sizes > 1) & (sizes < smallest)).sum() <= 1


@given(st.integers(0), st.integers(20, 90), st.integers(20, 90))
def test_a_picture_keeps_its_size_and_shows_the_photograph_alone(seed, height, width):
    photo = np.full((height, width, 3), 200, np.uint8)
    camera = bursts.Camera(stops=(0, 0), max_cast=0)
    picture = bursts.take_picture(photo, camera, np.random.default_rng(seed))
    assert picture.shape == photo.shape
    assert (picture == 200).all()  # no border of another color


def test_a_camera_that_does_not_move_copies_the_photograph():
    photo = cv2.imdecode(np.frombuffer(jpeg(0), np.uint8), cv2.IMREAD_COLOR)
    assert (bursts.take_picture(photo, STILL, np.random.default_rng(0)) == photo).all()


def test_labelled_products_are_in_bursts_and_new_ones_show_other_scenes(tmp_path):
    bursts.make_catalog(tmp_path, make_photos(), 0.6, 100, 30, seed=1)
    labelled, new = scenes(tmp_path / "products.csv"), scenes(tmp_path / "new_labels.csv")
    assert sum(size for size in labelled.values() if size > 1) == 60
    assert set(new.values()) == {1}
    assert not set(labelled) & set(new)
    assert labelled.total() == 100
    assert new.total() == 30


def test_twins_share_a_category_and_every_product_has_its_picture(tmp_path):
    bursts.make_catalog(tmp_path, make_photos(), 0.9, 60, 20, seed=1, new_share_of_twins=0.5)
    rows, new = read(tmp_path / "products.csv"), read(tmp_path / "new.csv")
    assert len({(row["burst"], row["category"]) for row in rows}) == len(
        {row["burst"] for row in rows}
    )
    assert {row["images"] for row in rows + new} == {
        path.name for path in (tmp_path / "images").iterdir()
    }
    assert list(new[0]) == ["product", "images"]
    labels = read(tmp_path / "new_labels.csv")
    assert [row["product"] for row in labels] == [row["product"] for row in new]
    assert sum(size for size in scenes(tmp_path / "new_labels.csv").values() if size > 1) == 10


def test_new_products_may_be_of_the_same_bursts(tmp_path):
    bursts.make_catalog(tmp_path, make_photos(), 0.9, 100, 50, seed=1, same_bursts=True)
    labelled, new = scenes(tmp_path / "products.csv"), scenes(tmp_path / "new_labels.csv")
    seen = sum(size for scene, size in new.items() if scene in labelled)
    assert (labelled.total(), new.total()) == (100, 50)
    assert seen > 35


def test_a_changed_mix_prefers_one_half_of_the_classes(tmp_path):
    bursts.make_catalog(tmp_path, make_photos(200), 0.0, 60, 60, seed=1, changed_mix=True)
    mix = Counter(row["category"] for row in read(tmp_path / "new_labels.csv"))
    assert sum(sorted(mix.values())[-2:]) > 45


def test_the_same_seed_makes_the_same_catalog(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        bursts.make_catalog(tmp_path / name, make_photos(), 0.5, 20, 5, seed)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in "abc"
    ]
    assert files[0] == files[1]
    assert files[0] != files[2]


@pytest.mark.parametrize(("labelled", "new"), [(121, 1), (100, 21)])
def test_too_few_photographs_are_an_error(tmp_path, labelled, new):
    with pytest.raises(UserError, match=r"of (120|20) photographs"):
        bursts.make_catalog(tmp_path, make_photos(), 0.0, labelled, new, seed=1)


def test_real_twins_are_alike_and_the_night_is_dark(shared_data, tmp_path):
    photos = bursts.fashion_photos(shared_data / "fashion", num_classes=5, per_class=20)
    assert len({photo.data for photo in photos}) == len(photos) == 100
    assert set(Counter(photo.category for photo in photos).values()) == {20}
    bursts.make_catalog(tmp_path, photos, 1.0, 60, 20, seed=1, new_camera=bursts.NIGHT)
    rows, new = read(tmp_path / "products.csv"), read(tmp_path / "new.csv")
    pictures, night = (
        np.array([cv2.imread(str(tmp_path / "images" / row["images"]), 0) for row in table])
        for table in (rows, new)
    )
    assert night.mean() < 0.75 * pictures.mean()
    alike = np.corrcoef(pictures.reshape(len(rows), -1))
    burst = np.array([row["burst"] for row in rows])
    twins = burst[:, None] == burst
    others = ~twins
    np.fill_diagonal(twins, False)
    assert np.median(alike[twins]) > np.median(alike[others]) + 0.2
    assert alike[twins].max() < 1  # no copies


def test_the_real_vehicles_are_photographs_of_five_classes(shared_data):
    photos = bursts.vehicle_photos(shared_data / "openimages" / "photos")
    assert len(photos) == 439
    assert {photo.category for photo in photos} == set(bursts.VEHICLES.values())


def test_real_styles_are_labelled_or_new_but_never_both(shared_data, tmp_path):
    bursts.make_style_catalog(tmp_path, shared_data / "luma", seed=1)
    rows, labels = read(tmp_path / "products.csv"), read(tmp_path / "new_labels.csv")
    assert not {row["burst"] for row in rows} & {row["burst"] for row in labels}
    assert {row["category"] for row in labels} <= {row["category"] for row in rows}
    assert max(scenes(tmp_path / "products.csv").values()) > 1
    for row in rows + read(tmp_path / "new.csv"):
        assert all((tmp_path / "images" / name).is_file() for name in row["images"].split("|"))
