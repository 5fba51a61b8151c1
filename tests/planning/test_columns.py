"""Tables as shops write them: which columns are found, and what a table that is unclear says."""

import csv

import pytest

from lib.config.data import Data
from lib.errors import UserError
from lib.planning.columns import decide_columns

KINDS = ["Bags", "Shoes", "Hats"]


@pytest.fixture
def shop(tmp_path):
    """write(columns, name, delimiter, encoding, folder): a table of twelve products, with files."""

    def write(columns, delimiter=",", encoding="utf-8", folder="images"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(12):
            (tmp_path / folder / f"{number}.jpg").write_bytes(b"x")
        path = tmp_path / "products.csv"
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path

    return write


def columns(**more):
    usual = {
        "SKU": [f"P{n}" for n in range(12)],
        "Title": [f"A thing {n}" for n in range(12)],
        "Product Category": [KINDS[n % 3] for n in range(12)],
        "Image": [f"{n}.jpg" for n in range(12)],
        "Price": [f"{5 * (n % 2)}.5" for n in range(12)],
    }
    return {name: values for name, values in (usual | more).items() if values is not None}


def decide(path, *settled, images=None, **values):
    data = Data(source="csv", root=str(path.parent), **values)
    return decide_columns(path, images, data, settled)


def found(path, *settled, **values):
    data = decide(path, *settled, **values)
    return data.id_column, data.label_column, data.images_column, data.group_by, data.images_root


def test_a_table_of_a_shop(shop):
    assert found(shop(columns())) == ("SKU", "Product Category", "Image", "alike", "")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_separators(shop, delimiter):
    assert found(shop(columns(), delimiter))[:3] == ("SKU", "Product Category", "Image")


def test_a_table_of_excel(shop):
    kinds = [["Hüte", "Schuhe"][n % 2] for n in range(12)]
    data = decide(shop(columns(**{"Product Category": kinds}), ";", "cp1252"))
    assert (data.label_column, data.encoding) == ("Product Category", "cp1252")
    assert decide(shop(columns(**{"Product Category": kinds}), ";", "utf-16")).encoding == "auto"


def test_several_images_in_a_field(shop):
    images = [f"{n}.jpg, {(n + 1) % 12}.jpg" for n in range(12)]
    assert found(shop(columns(Image=images)))[2] == "Image"


def test_images_in_another_folder(shop, tmp_path):
    path = shop(columns(), folder="photos")
    assert found(path)[4] == str(tmp_path / "photos")
    assert found(path, images=tmp_path / "photos")[4] == str(tmp_path / "photos")
    with pytest.raises(
        UserError, match=r"no column names files in .*elsewhere; it has: SKU, Title"
    ):
        found(path, images=tmp_path / "elsewhere")


def test_names_that_start_with_their_folder(shop, tmp_path):
    path = shop(columns(Image=[f"images/{n}.jpg" for n in range(12)]))
    assert found(path)[4] == str(tmp_path)


def test_files_and_labels_alone(shop):
    path = shop({"file": [f"{n}.jpg" for n in range(12)], "y": [KINDS[n % 3] for n in range(12)]})
    assert found(path)[:3] == ("file", "y", "file")


def test_rows_that_continue_a_product(shop):
    handles = [f"P{n // 2}" for n in range(12)]
    assert found(shop(columns(SKU=None, Title=None, Handle=handles)))[0] == "Handle"


def test_two_labels_are_one_line_that_names_both(shop):
    path = shop(columns(label=[KINDS[n // 4] for n in range(12)]))
    with pytest.raises(UserError, match=r"'Product Category' and 'label' may all be the labels"):
        found(path)
    assert found(path, "label_column", label_column="label")[1] == "label"


def test_a_label_and_its_number_are_one(shop):
    path = shop(columns(category_id=[str(n % 3) for n in range(12)]))
    assert found(path)[1] == "Product Category"


def test_two_ids_of_unknown_names_are_one_line(shop):
    path = shop(columns(SKU=None, Ref=[f"R{n}" for n in range(12)]))
    with pytest.raises(
        UserError, match=r"'Title' and 'Ref' may all be the ids; choose .*id_column"
    ):
        found(path)


def test_two_columns_of_images_are_one_line(shop):
    path = shop(columns(Image=None, front=[f"{n}.jpg" for n in range(12)], back=["1.jpg"] * 12))
    with pytest.raises(UserError, match=r"'front' and 'back' may all be the images"):
        found(path)


def test_a_group_has_a_name_for_it_and_one_label_each(shop):
    styles = [f"S{n % 6}" for n in range(12)]
    assert found(shop(columns(style=styles)))[3] == "style"
    assert found(shop(columns(style=styles)), "group_by", group_by="")[3] == ""
    assert found(shop(columns(colour=styles)))[3] == "alike"
    assert found(shop(columns(style=[f"S{n // 2}" for n in range(12)])))[3] == "alike"


@pytest.mark.parametrize(
    ("name", "values", "taken"),
    [
        ("Split", ["train", "train", "test"] * 4, True),
        ("subset", ["train", "valid", "test"] * 4, True),
        ("fold", [0, 1, 2, 3] * 3, True),
        ("fold", ["a", "b", "c", "d"] * 3, False),
        ("split", ["train"] * 12, False),
        ("split", ["train"] * 11 + [""], False),
        ("period", ["train", "train", "test"] * 4, False),
    ],
)
def test_a_column_of_the_users_own_split_is_taken(shop, name, values, taken):
    path = shop(columns(**{name: values}))
    data = decide(path)
    assert data.split_column == (name if taken else "")
    assert data.label_column == "Product Category"
    assert decide(path, "split_column", split_column="").split_column == ""


def test_a_split_is_no_label(shop):
    table = {
        "file": [f"{n}.jpg" for n in range(12)],
        "kind": KINDS * 4,
        "split": ["test", "train"] * 6,
    }
    data = decide(shop(table))
    assert (data.label_column, data.split_column) == ("kind", "split")


def test_labels_that_do_not_repeat_are_one_line(shop):
    path = shop(columns(**{"Product Category": None}))
    with pytest.raises(UserError, match="no column has values that repeat, as labels do"):
        found(path)


def test_a_single_class_is_one_line(shop):
    path = shop(columns(**{"Product Category": ["Shirts"] * 12}))
    with pytest.raises(UserError, match="'Product Category' has one value, 'Shirts'; a classifier"):
        found(path)


def test_missing_images_are_one_line_with_their_share(shop, tmp_path):
    path = shop(columns())
    for number in range(9):
        (tmp_path / "images" / f"{number}.jpg").unlink()
    with pytest.raises(UserError, match=r"25% of the values of 'Image' are files in .*images, and"):
        found(path)


def test_addresses_are_one_line(shop):
    path = shop(columns(Image=[f"https://shop/{n}.jpg" for n in range(12)]))
    with pytest.raises(UserError, match="Image has addresses; download them"):
        found(path)


def test_a_header_alone_is_one_line(tmp_path):
    path = tmp_path / "products.csv"
    path.write_text("id,label,image\n")
    with pytest.raises(UserError, match="a header, but no rows"):
        found(path)


def test_a_column_that_is_not_there_is_one_line(shop):
    with pytest.raises(UserError, match="no column picture; it has: SKU, Title"):
        found(shop(columns()), "images_column", images_column="picture")
