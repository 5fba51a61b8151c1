import numpy as np
import pyarrow as pa
import pytest

from lib.config.inputs.text import Text
from lib.config.schema import Predict
from lib.inference import text_predictor as module
from lib.inference.topk import TopK
from lib.inference.topk_writer import write_topk
from lib.models.text.classifier import TextClassifier
from lib.models.text.fit import fit

TEXTS = pa.table({"title": ["red bag", "blue shoe", None, "green bag", "red shoe"]})
IMAGE_PRODUCT = np.array([0, 0, 1, 2, 3, 4])


@pytest.fixture
def classifiers(tmp_path) -> list[TextClassifier]:
    """Two fold models of three classes."""
    models = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        texts, label = TEXTS.take(pa.array([0, 1, 3])), np.array([0, 1, 2])
        *_, (model, _) = fit(folder, texts, label, 3, Text(num_features=1024), seed)
        models.append(model)
    return models


def test_images_of_a_product_score_alike_by_the_models_that_are_asked(classifiers, tmp_path):
    predictor = module.TextPredictor(classifiers, TEXTS, IMAGE_PRODUCT)
    images, models = np.arange(6), np.array([0, 0, 1, 1, 0, 1])
    for name, model_of_image in (("fold", models), ("mean", None)):
        (tmp_path / name).mkdir()
        write_topk(tmp_path / name, predictor, Predict(), images, model_of_image, True)
        topk = TopK.load(tmp_path / name)
        probs = np.stack([model.predict(TEXTS) for model in classifiers])
        of_image = probs.mean(0)[IMAGE_PRODUCT]
        if model_of_image is not None:
            of_image = probs[models, IMAGE_PRODUCT]
        np.testing.assert_array_equal(topk.classes[:, 0], of_image.argmax(1))
        np.testing.assert_allclose(topk.probs, -np.sort(-of_image, axis=1), atol=1e-3)
        np.testing.assert_array_equal(topk.classes[0], topk.classes[1])


def test_batches_do_not_change_the_result(classifiers, monkeypatch):
    predictor, rows = module.TextPredictor(classifiers, TEXTS, IMAGE_PRODUCT), np.arange(5)
    (whole,) = predictor.predict_batches(rows, [0, 1])
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    parts = [batch.tta for batch in predictor.predict_batches(rows, [0, 1])]
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_allclose(np.concatenate(parts), whole.tta, atol=1e-6)
