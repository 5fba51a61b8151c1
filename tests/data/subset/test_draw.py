import numpy as np
import pytest

from lib.config.data import Sample
from lib.data.catalog import Catalog, build_categories, read_catalog, read_categories
from lib.data.sources.bson_file import index_bson
from lib.data.subset.draw import RUN, draw_products
from lib.data.synthetic.catalog import generate


@pytest.fixture(scope="module")
def sides(tmp_path_factory) -> dict[str, Catalog]:
    """Labelled products and those to classify, of a catalog in Cdiscount's format."""
    folder = tmp_path_factory.mktemp("whole")
    generate(folder, Sample(3000, 800, num_classes=40, image_size=16, num_placeholders=2), 1)
    build_categories(folder, folder / "category_names.csv")
    catalogs = {}
    for side in ("train", "test"):
        (folder / side).mkdir()
        path = folder / f"{side}.bson"
        index_bson(folder / side, path, read_categories(folder), side == "train", 0.01)
        catalogs[side] = read_catalog(folder / side, path)
    return catalogs


def holders(catalog: Catalog) -> dict[int, set[int]]:
    """The products that hold each image, by brute force."""
    found: dict[int, set[int]] = {}
    for md5, product in zip(
        catalog.md5[:, 0].tolist(), catalog.image_product.tolist(), strict=True
    ):
        found.setdefault(md5, set()).add(product)
    return found


@pytest.mark.parametrize("count", [50, 300, 1000])
def test_a_draw_has_about_as_many_products_as_were_asked_for(sides, count):
    drawn = draw_products(sides["train"], count, 1)
    assert count <= drawn.sum() <= 1.5 * count + 2 * RUN


def test_products_that_share_an_image_are_drawn_together(sides):
    """Unless so many hold it that it stands for a missing picture, or their set is too large."""
    catalog = sides["train"]
    drawn = draw_products(catalog, 1000, 1)
    shared = [group for group in holders(catalog).values() if 1 < len(group) <= 50]
    whole = [len({bool(drawn[product]) for product in group}) == 1 for group in shared]
    assert np.mean(whole) > 0.8
    single = np.random.default_rng(0).permutation(len(drawn)) < drawn.sum()
    of_singles = [len({bool(single[product]) for product in group}) == 1 for group in shared]
    assert np.mean(of_singles) < 0.7 < np.mean(whole)


def test_products_have_neighbors_by_id(sides):
    catalog = sides["train"]
    drawn = draw_products(catalog, 300, 1)
    in_order = drawn[np.argsort(catalog.product_id)]
    pairs = in_order[:-1] & in_order[1:]
    assert pairs.sum() > 0.5 * drawn.sum()


def test_products_of_a_group_are_drawn_together(sides):
    catalog = sides["train"]
    group = np.random.default_rng(1).integers(0, 600, len(catalog.product_id)).astype(np.int32)
    grouped = Catalog(
        **{
            **vars(catalog),
            "group": group,
            "md5": np.arange(2 * len(catalog.md5), dtype=np.uint64).reshape(-1, 2),
        }
    )
    drawn = draw_products(grouped, 500, 1)
    for number in np.unique(group):
        assert len(set(drawn[group == number])) == 1


def test_products_to_classify_share_images_with_drawn_ones(sides):
    train, test = sides["train"], sides["test"]
    labelled = draw_products(train, 500, 1)
    kept = labelled[train.image_product]
    part = Catalog(**{**vars(train), "md5": train.md5[kept]})
    drawn = draw_products(test, 250, 1, part)
    shared = np.isin(test.md5[:, 0], part.md5[:, 0])
    holders_drawn = np.unique(test.image_product[shared & drawn[test.image_product]])
    assert len(holders_drawn) >= min(125, len(np.unique(test.image_product[shared])))


def test_a_catalog_that_is_small_enough_is_drawn_whole_and_a_seed_draws_the_same(sides):
    catalog = sides["test"]
    assert draw_products(catalog, 800, 1).all()
    assert (draw_products(catalog, 100, 3) == draw_products(catalog, 100, 3)).all()
    assert (draw_products(catalog, 100, 3) != draw_products(catalog, 100, 4)).any()
