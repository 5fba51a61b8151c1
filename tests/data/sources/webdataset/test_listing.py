"""Catalogs of WebDataset tars: listed and indexed, their images read in place."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.load import from_tree
from lib.data.byte_reader import ByteReader
from lib.data.image_reader import ImageReader
from lib.data.sources.webdataset.listing import list_samples
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import index_source
from tests.data.sources.webdataset.test_tar_file import write_tar

SETTINGS = from_tree({"name": "x", "data": {"source": "webdataset"}}, [], "test").data
Sample = dict[str, bytes]


def write(path: Path, samples: dict[str, Sample]) -> Path:
    members = [
        (f"{k}.{s}", c, tarfile.REGTYPE) for k, sample in samples.items() for s, c in sample.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_tar(members))
    return path


def sample(number: int, **fields: object) -> Sample:
    """One image, its class, and a .json."""
    document = json.dumps({"id": 100 + number, **fields}).encode()
    return {"jpg": jpeg(number, 8, 8), "cls": b"%d" % (number % 2), "json": document}


def test_the_samples_of_shards_are_products(tmp_path):
    two = {"0.jpg": jpeg(8, 8, 8), "cls": b"1", "1.png": jpeg(9, 8, 8)}
    paths = [
        write(tmp_path / "a.tar", {"k0": sample(0), "k1": sample(1)}),
        write(tmp_path / "b" / "c.tar", {"x/k2": two, "k3": sample(3)}),
    ]
    listing = list_samples(tmp_path, paths, tmp_path, True, SETTINGS)
    facts, catalog, categories = index_source(tmp_path / "i", tmp_path, tmp_path, listing)
    assert facts == {"products": 4, "images": 5, "distinct_images": 5, "bad_records": 0}
    assert [catalog.key(row) for row in range(4)] == ["k0", "k1", "x/k2", "k3"]
    assert categories.keys == ["0", "1"]
    assert catalog.label.tolist() == [0, 1, 1, 1]
    assert catalog.image_count.tolist() == [1, 1, 2, 1]
    assert catalog.files.names.to_pylist() == ["a.tar", "b/c.tar"]
    reader = ByteReader(catalog)
    wanted = [jpeg(n, 8, 8) for n in (0, 1, 8, 9, 3)]
    assert list(reader.read_many(np.arange(5))) == wanted
    reader.close()
    with ImageReader(catalog, (8, 8), 1) as images:
        assert images.decode(4).shape == (8, 8, 3)
        assert not images.corrupt.any()


def test_members_of_a_sample_need_not_follow_each_other(tmp_path):
    members = [(f"k{n}.{i}.jpg", jpeg(3 * n + i, 8, 8)) for i in range(3) for n in (1, 0)]
    members += [(f"k{n}.cls", b"%d" % n) for n in (0, 1)]
    path = tmp_path / "a.tar"
    path.write_bytes(write_tar([(name, content, tarfile.REGTYPE) for name, content in members]))
    listing = list_samples(path, [path], tmp_path, True, SETTINGS)
    _, catalog, _ = index_source(tmp_path / "i", tmp_path, tmp_path, listing)
    assert [catalog.key(row) for row in range(2)] == ["k1", "k0"]
    assert (catalog.label.tolist(), catalog.image_count.tolist()) == ([1, 0], [3, 3])
    reader = ByteReader(catalog)
    assert list(reader.read_many(np.arange(6))) == [jpeg(n, 8, 8) for n in (3, 4, 5, 0, 1, 2)]
    reader.close()


def test_ids_labels_groups_and_parts_come_from_json(tmp_path):
    rows = {f"k{n}": sample(n, kind=f"K{n % 2}", style=n // 2, part="train") for n in range(4)}
    path = write(tmp_path / "a.tar", rows)
    data = replace(SETTINGS, id_column="id", label_column="kind", group_by="style")
    listing = list_samples(path, [path], tmp_path, True, replace(data, split_column="part"))
    assert listing.keys == ["100", "101", "102", "103"]
    assert listing.product_id.tolist() == [100, 101, 102, 103]
    assert listing.labels == ["K0", "K1", "K0", "K1"]
    assert listing.groups.tolist() == [0, 0, 1, 1]
    assert listing.splits == ["train"] * 4
    unlabelled = list_samples(path, [path], tmp_path, False, data)
    assert (unlabelled.labels, unlabelled.groups) == ([""] * 4, None)


def test_what_cannot_be_used_is_counted_and_listed(tmp_path):
    samples = {f"k{n}": sample(n) for n in range(6)}
    samples["empty"] = sample(6) | {"jpg": b""}
    samples["unlabelled"] = {"jpg": jpeg(7, 8, 8)}
    samples["imageless"] = {"cls": b"1"}
    samples["k0/README"] = {"txt": b"about"}
    path = write(tmp_path / "a.tar", samples)
    again = write(tmp_path / "b.tar", {"k1": sample(1), "k9": sample(9)})
    whole = path.read_bytes()
    damaged = bytearray(whole[: whole.index(b"about") + 2])
    damaged[damaged.index(b"k4.jpg")] ^= 1
    path.write_bytes(damaged)
    listing = list_samples(tmp_path, [path, again], tmp_path, True, SETTINGS)
    _, catalog, _ = index_source(tmp_path / "i", tmp_path, tmp_path, listing, 1.0)
    keys = [catalog.key(row) for row in range(len(catalog.product_id))]
    assert keys == ["k0", "k1", "k2", "k3", "k5", "empty", "k9"]
    assert catalog.image_count.tolist() == [1, 1, 1, 1, 1, 0, 1]
    report = json.loads((tmp_path / "i" / "scan_report.json").read_text())
    assert report["counts"] == {
        "a.tar: a damaged header": 1,
        "a.tar: a sample without an image": 2,
        "a.tar: the file ends inside a member": 1,
        "no category_id": 1,
        "duplicate _id": 1,
        "image file missing or empty": 1,
        "product without images": 1,
    }
    assert any(r["reason"] == "duplicate _id k1" for r in report["records"])
    with pytest.raises(UserError, match="records cannot be used, the first at byte"):
        index_source(tmp_path / "j", tmp_path, tmp_path, listing, 0.01)


def test_masks_among_the_images_are_named_and_can_be_left_out(tmp_path):
    both = {f"k{n}": sample(n) | {"seg.png": jpeg(n, 8, 8)} for n in range(3)}
    path = write(tmp_path / "a.tar", both)
    listing = list_samples(path, [path], tmp_path, True, SETTINGS)
    assert listing.image_count.tolist() == [2, 2, 2]
    assert "images are the members 3 x jpg, 3 x seg.png" in listing.cautions[0]
    chosen = list_samples(path, [path], tmp_path, True, replace(SETTINGS, images_column="jpg"))
    assert chosen.image_count.tolist() == [1, 1, 1]
    assert not chosen.cautions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "kind"}, "no sample has a column kind, a member .kind or a key of its"),
        ({"id_column": "sku"}, "no sample can be used; its samples have members jpg, cls, json"),
        ({"images_column": "webp"}, "no sample with an image; its samples have members jpg"),
    ],
)
def test_a_column_that_no_sample_has_is_an_error(tmp_path, settings, message):
    path = write(tmp_path / "a.tar", {"k0": sample(0), "k1": sample(1)})
    with pytest.raises(UserError) as error:
        list_samples(path, [path], tmp_path, True, replace(SETTINGS, **settings))
    assert message in str(error.value)


def test_what_is_no_tar_is_an_error(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"words " * 1000)
    with pytest.raises(UserError, match="no sample in it; byte 0 of"):
        list_samples(path, [path], tmp_path, True, SETTINGS)


def test_a_tar_without_its_end_is_a_caution(tmp_path):
    path = write(tmp_path / "a.tar", {"k0": sample(0), "k1": sample(1)})
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b'{"id"') + 512])
    listing = list_samples(path, [path], tmp_path, True, SETTINGS)
    assert not listing.corrupt
    assert "the file may have been cut between two members" in listing.cautions[0]
