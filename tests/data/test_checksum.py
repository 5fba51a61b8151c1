import hashlib

import pytest

from lib.data.checksum import verify_checksum
from lib.errors import UserError


def test_a_file_must_have_the_published_checksum(tmp_path):
    path = tmp_path / "train.bson"
    path.write_bytes(b"some bytes")
    checksum = hashlib.sha256(b"some bytes").hexdigest()
    verify_checksum(path, {"train.bson": checksum.upper()})
    with pytest.raises(UserError, match=r"train.bson: its SHA-256 is .* data.sha256 has 00"):
        verify_checksum(path, {"train.bson": "00"})


def test_a_file_without_a_published_checksum_is_not_read(tmp_path):
    verify_checksum(tmp_path / "missing.bson", {"other.bson": "00"})


def test_the_published_files_have_their_checksums(shared_data):
    published = {
        "train_example.bson": "5d54291c3704a755178d9c1cd8f877eaa6adbf207713988ca2bb5cd52aab7bdb",
        "category_names.csv": "84fe1e7334836d50ed04d475cfc525bccbe420f7242f85ca301b3f69294632c6",
    }
    for name in published:
        verify_checksum(shared_data / "cdiscount" / name, published)
