from lib.data.openimages.annotation_files import find_tables
from tests.data.openimages.annotated_folder import write_boxes_table, write_labels_table


def test_tables_are_found_by_their_names(tmp_path):
    train = write_boxes_table(tmp_path / "train-annotations-bbox.csv", [])
    labels = write_labels_table(tmp_path / "train-annotations-human-imagelabels-boxable.csv", [])
    other = write_boxes_table(tmp_path / "validation-annotations-bbox.csv", [])
    assert find_tables(train) == ([train], [labels])
    assert find_tables(other) == ([other], [])
    assert find_tables(tmp_path / "boxes.csv") == ([tmp_path / "boxes.csv"], [])
    assert find_tables(tmp_path) == ([train, other], [labels])
