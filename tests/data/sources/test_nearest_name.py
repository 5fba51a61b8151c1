import pytest

from lib.data.sources.nearest_name import missing_hint, nearest_name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("a/P01.JPG", "a/p01.jpg"),
        ("a/p01.jpeg", "a/p01.jpg"),
        ("a/cafe\u0301.png", "a/caf\u00e9.png"),
        ("b/top.jpg", "top.jpg"),
        ("a/hoodie_blu.jpg", "a/hoodie_blue.jpg"),
        ("a/zebra.jpg", ""),
        ("c/zebra.jpg", ""),
        ("a/zero\0byte.jpg", ""),
    ],
)
def test_the_nearest_file_is_found(tmp_path, name, nearest):
    (tmp_path / "a").mkdir()
    for file in ("a/p01.jpg", "a/caf\u00e9.png", "top.jpg", "a/hoodie_blue.jpg"):
        (tmp_path / file).touch()
    assert nearest_name(tmp_path, name) == nearest
    assert missing_hint(tmp_path, name) == (f", but {nearest!r} is there" if nearest else "")
