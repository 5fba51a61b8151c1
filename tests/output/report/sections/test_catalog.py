import numpy as np

from lib.output.report.blocks import Chart, Text
from lib.output.report.sections import catalog as section_module
from lib.output.report.sections.catalog import catalog_section
from tests.output.report.parts import catalog_of

LABEL = [0, 0, 0, 2, 2, 3]
SIZES = np.array([[10, 20]] * 4 + [[0, 0]] * 2, np.int32)


def section(ids=True, sizes=SIZES):
    catalog = catalog_of(LABEL, [0, 0, 1, 2, 3, 4])
    return catalog_section(catalog, np.bincount(LABEL, minlength=5), sizes, ids)


def test_the_tiles_count_products_images_and_classes():
    tiles = section().blocks[0].tiles
    assert [tile.value for tile in tiles] == ["6", "6", "3", "50.0 %"]
    assert tiles[2].detail == "of 5; 1 to 3 products, median 2"


def test_sizes_and_ids_are_drawn_where_they_are_known():
    captions = [block.caption for block in section().blocks if isinstance(block, Chart)]
    assert captions[2].startswith("First images of 4 products, 1 different sizes")
    assert captions[3].startswith("Classes against ids of 6 products")
    without = section(ids=False, sizes=np.zeros((6, 2), np.int32))
    assert len([block for block in without.blocks if isinstance(block, Chart)]) == 2
    assert isinstance(without.blocks[-1], Text)


def test_points_are_sampled(monkeypatch):
    monkeypatch.setattr(section_module, "MAX_POINTS", 3)
    assert section().blocks[-1].caption.startswith("Classes against ids of 3 products")
