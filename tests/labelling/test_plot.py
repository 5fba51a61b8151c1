"""The figure of the report."""

import cv2
import numpy as np
import pytest

from lib.labelling import plot, report
from lib.labelling.score import Responses
from tests.labelling.test_report import ROWS
from tests.labelling.test_score import make_responses


@pytest.mark.parametrize("num_classes", [3, 60])
def test_the_report_is_drawn_with_people_who_skipped(tmp_path, num_classes):
    responses = make_responses(ROWS)
    names = [f"c{i}" for i in range(num_classes)]
    responses = Responses(responses.truth, names, responses.people, responses.models)
    plot.draw(report.to_dict(responses), tmp_path / "a" / "r.png")
    assert cv2.imread(str(tmp_path / "a" / "r.png")).shape[1] > 300


def test_more_classes_than_fit_widen_the_figure_no_further(tmp_path):
    widths = []
    for num_classes in (plot.MAX_CLASSES, plot.MAX_CLASSES + 20):
        truth = np.arange(num_classes, dtype=np.int16)
        names = [f"c{i}" for i in range(num_classes)]
        responses = Responses(truth, names, {1: np.roll(truth, 1)}, {})
        plot.draw(report.to_dict(responses), tmp_path / "r.png")
        widths.append(cv2.imread(str(tmp_path / "r.png")).shape[1])
    assert widths[0] == widths[1]
