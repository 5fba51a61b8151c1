"""The real engine on drawn words."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.inputs.ocr import ENGINE, Ocr
from lib.errors import UserError
from lib.models.text.ocr import Engine, check_engine, enlarge, load_engine

rapidocr = pytest.importorskip("rapidocr", reason="requirements-ocr.txt")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(Ocr())


def picture(*lines: str, size: tuple[int, int] = (180, 240)) -> np.ndarray:
    """Lines of words below each other, on a picture that is not plain; uint8 RGB."""
    image = np.full((*size, 3), (250, 240, 210), np.uint8)
    cv2.circle(image, (size[1] - 20, size[0] - 10), 30, (70, 120, 200), -1)
    for number, line in enumerate(lines):
        cv2.putText(image, line, (8, 50 + 45 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (20,) * 3, 2)
    return image


def test_words_are_read_from_the_top(engine):
    assert engine.read(picture("Acme", "Kettle 1500")) == "Acme Kettle 1500"
    assert engine.read(picture()) is None


def test_turned_pictures_are_read(engine):
    for quarters in (1, 2, 3):
        assert engine.read(np.rot90(picture("Kettle 1500"), quarters)) == "Kettle 1500"


def test_a_picture_of_any_shape_is_read(engine):
    small = Engine(engine._engine, Ocr(min_side=64, max_side=256))
    for height, width in ((1, 1), (1, 700), (700, 1)):
        assert small.read(np.full((height, width, 3), 200, np.uint8)) is None


def test_small_pictures_are_enlarged_and_large_ones_reduced():
    settings = Ocr(min_side=100, max_side=200)
    for size, expected in {
        (60, 80): (100, 133),
        (10, 80): (25, 200),
        (400, 300): (200, 150),
        (120, 200): (120, 200),
        (1, 900): (1, 200),
    }.items():
        assert enlarge(np.zeros((*size, 3), np.uint8), settings).shape == (*expected, 3)


def test_words_of_a_picture_of_few_pixels_are_read(engine):
    small = cv2.resize(picture("Kettle"), (120, 90), interpolation=cv2.INTER_AREA)
    assert engine.read(small) == "Kettle"


def test_lines_below_the_least_confidence_are_left_out(engine):
    assert load_engine(Ocr(min_confidence=0.9999999)).read(picture("Acme")) is None


def test_a_language_without_a_model_at_hand_is_one_line():
    with pytest.raises(UserError, match=r"ocr.language = 'klingon': the engine reads af, .*, th$"):
        check_engine(Ocr(language="klingon"))
    with pytest.raises(UserError, match=r"= 'korean': its model is not at hand; download http"):
        check_engine(Ocr(language="korean"))


def test_a_damaged_model_is_one_line_and_no_download(tmp_path, monkeypatch):
    for path in (Path(rapidocr.__file__).parent / "models").glob("*.onnx"):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / path.name).symlink_to(path)
    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    check_engine(Ocr())
    (damaged,) = (tmp_path / "models").glob("PP-OCRv6_rec_small.onnx")
    damaged.unlink()
    damaged.write_bytes(b"half of it")
    with pytest.raises(UserError, match="its model is not at hand"):
        load_engine(Ocr())


def test_an_engine_that_is_missing_or_another_is_one_line(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(ENGINE, "no-engine-of-this-name", "1.0")
        with pytest.raises(UserError, match=r"is not installed; .* -r requirements-ocr\.txt"):
            load_engine(Ocr())
    monkeypatch.setitem(ENGINE, "rapidocr", "1.0")
    with pytest.raises(UserError, match=r"rapidocr 3\S+ may read other words than 1\.0; .*-ocr"):
        check_engine(Ocr())
