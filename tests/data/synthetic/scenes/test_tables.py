"""The rows of the tables; whole folders are read in test_generate.py."""

import pytest

from lib.data.synthetic.scenes.annotation import SceneObject
from lib.data.synthetic.scenes.faults import Annotation, Fault
from lib.data.synthetic.scenes.tables import BOX_COLUMNS, Tables, box_row

BOX = (0.25, 0.5, 0.125, 1.0)


def test_a_row_has_the_official_columns():
    found = SceneObject("/m/01", "generated", BOX, occluded=1, group=-1)
    row = dict(zip(BOX_COLUMNS, box_row("00ff", found), strict=True))
    edges = ("0.250000", "0.500000", "0.125000", "1.000000")
    assert tuple(row[column] for column in ("XMin", "XMax", "YMin", "YMax")) == edges
    assert (row["IsOccluded"], row["IsTruncated"], row["IsGroupOf"]) == (1, 0, -1)
    assert (row["ImageID"], row["LabelName"], row["Confidence"]) == ("00ff", "/m/01", 1)


@pytest.mark.parametrize(("side", "num_files"), [("train", 5), ("test", 2)])
def test_a_side_writes_its_files(tmp_path, side, num_files):
    (tmp_path / "truth").mkdir()
    found = SceneObject("/m/01", "generated", BOX)
    fault = Fault("missing_box", "00ff", "/m/02", "", BOX)
    with Tables(tmp_path, side) as tables:
        tables.write([found], "background", Annotation("00ff", [found], [("/m/01", 1)], [fault]))
    assert len(list(tmp_path.rglob("*.csv"))) == num_files
    truth = (tmp_path / f"truth/{side}-labels.csv").read_text()
    assert truth == "ImageID,LabelName,Background\n00ff,/m/01,background\n"
    if side == "train":
        faults = (tmp_path / "truth/train-faults.csv").read_text().splitlines()
        assert faults[1] == "missing_box,00ff,/m/02,,0.250000,0.500000,0.125000,1.000000"
