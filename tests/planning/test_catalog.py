import pytest

from lib.errors import UserError
from lib.planning.catalog import index, lines, look
from lib.planning.request import make_request
from tests.conftest import jpeg, product


def request_of(tmp_path, data, test=None, images=None, *sets):
    sets = [f"work={tmp_path}/work", *sets]
    request = make_request(str(data), test and str(test), images and str(images), None, sets)
    assert request is not None
    return request


def facts_of(request, rebuild=False):
    from dataclasses import replace

    return index(replace(request.base, data=look(request)), rebuild)


def test_a_folder_for_each_class(tmp_path, folder_of_classes):
    request = request_of(tmp_path, folder_of_classes, folder_of_classes.parent / "new")
    data = look(request)
    assert (data.source, data.train) == ("folders", "train")
    facts = facts_of(request)
    assert facts.products == facts.images == {"train": 24, "test": 3}
    assert (facts.labelled, facts.classes, facts.smallest, facts.median) == (24, 3, 8, 8)
    assert (facts.height, facts.width, facts.ids) == (40, 32, False)
    assert facts.all_images == 27
    text = "\n".join(lines(data, facts))
    assert "24 labelled products of 3 classes (8 in the smallest, 8 in the median)" in text
    assert "24 images of 40x32 pixels" in text
    assert "3 products to classify" in text


def test_bson_with_a_table_of_categories_of_any_name(tmp_path, write_bson, write_categories):
    path = write_bson([product(n, [jpeg(n)], 7 + n % 2) for n in range(8)])
    table = write_categories([7, 8, 9])
    table.rename(tmp_path / "kinds.csv")
    request = request_of(tmp_path, path)
    assert look(request).categories == "kinds.csv"
    facts = facts_of(request)
    assert (facts.labelled, facts.classes, facts.ids) == (8, 2, True)


def test_categories_of_an_older_excel_are_read_as_it_writes_them(tmp_path, write_bson):
    path = write_bson([product(n, [jpeg(n)], 7 + n % 2) for n in range(8)])
    table = tmp_path / "category_names.csv"
    header = "category_id,category_level1,category_level2,category_level3\n"
    table.write_bytes((header + "7,Bébé,a,b\n8,Café,c,d\n").encode("cp1252"))
    request = request_of(tmp_path, path)
    data = look(request)
    assert data.encoding == "cp1252"
    facts = facts_of(request)
    assert facts.classes == 2
    assert "the table is read as cp1252" in lines(data, facts)
    assert look(request_of(tmp_path, path, None, None, "data.encoding=latin-1")).encoding == (
        "latin-1"
    )


def test_a_table_of_categories_that_is_not_there_is_one_line(tmp_path, write_bson):
    path = write_bson([product(1, [jpeg(1)], 7)])
    with pytest.raises(UserError, match=r"absent\.csv"):
        facts_of(request_of(tmp_path, path, None, None, "data.categories=absent.csv"))


def test_bson_without_categories_is_one_line(tmp_path, write_bson):
    path = write_bson([product(1, [jpeg(1)], 7)])
    with pytest.raises(UserError, match="no table of its categories beside it; put category_names"):
        look(request_of(tmp_path, path))


def test_a_folder_with_a_table_names_it(tmp_path):
    (tmp_path / "shop" / "images").mkdir(parents=True)
    (tmp_path / "shop" / "images" / "1.jpg").write_bytes(jpeg(1))
    (tmp_path / "shop" / "products.csv").write_text("id,label,image\n1,a,1.jpg\n")
    with pytest.raises(UserError, match=r"name the table itself: --data .*products\.csv"):
        look(request_of(tmp_path, tmp_path / "shop"))


def test_products_to_classify_of_another_kind_are_one_line(tmp_path, folder_of_classes, write_bson):
    other = write_bson([product(1, [jpeg(1)])], "new.bson")
    with pytest.raises(UserError, match=r"--test .*new.bson: bson, but .* is folders; train first"):
        look(request_of(tmp_path, folder_of_classes, other))


def test_a_folder_of_images_is_for_tables(tmp_path, folder_of_classes):
    with pytest.raises(UserError, match="is no table, and has its own images"):
        look(request_of(tmp_path, folder_of_classes, None, tmp_path))


def test_products_without_images_are_one_line(tmp_path, write_bson, write_categories):
    write_categories([7, 8])
    path = write_bson([product(1, [], 7), product(2, [], 8)])
    with pytest.raises(UserError, match="0 images of 2 classes; at least two classes need images"):
        facts_of(request_of(tmp_path, path))
