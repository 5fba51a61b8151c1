"""Texts of samples, joined to products."""

import json
import tarfile

import pytest

from lib.data.catalog import read_catalog
from lib.data.sources.text_table import TableFormat
from lib.data.sources.webdataset.listing import list_samples
from lib.data.sources.webdataset.texts import sample_texts
from lib.data.texts.join import join_texts, read_texts
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import index_source
from tests.data.sources.webdataset.test_listing import SETTINGS
from tests.data.sources.webdataset.test_tar_file import write_tar


def test_texts_are_members_and_keys_of_json(tmp_path):
    path = tmp_path / "a.tar"
    members = []
    for number, title in enumerate(["Tee", None, "Red bag"]):
        members += [
            (f"p{number}.jpg", jpeg(number, 8, 8), tarfile.REGTYPE),
            (f"p{number}.cls", b"%d" % (number % 2), tarfile.REGTYPE),
            (f"p{number}.json", json.dumps({"title": title}).encode(), tarfile.REGTYPE),
        ]
    members.append(("p1.txt", "größer".encode(), tarfile.REGTYPE))
    path.write_bytes(write_tar(members))
    listing = list_samples(path, [path], tmp_path, True, SETTINGS)
    index_source(tmp_path / "i", path, tmp_path, listing)
    catalog = read_catalog(tmp_path / "i", tmp_path)

    def join(*columns: str) -> list[list]:
        own = sample_texts(path, [path], "", columns)
        join_texts(tmp_path, catalog, [], columns, "", TableFormat(), 0.0, own=own)
        return [column.to_pylist() for column in read_texts(tmp_path, columns).columns]

    assert join("title", "txt") == [["Tee", None, "Red bag"], [None, "größer", None]]
    with pytest.raises(UserError, match="no sample has a text brand, a member"):
        join("brand")
