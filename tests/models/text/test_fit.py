from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.config.inputs.text import Text
from lib.errors import UserError
from lib.models.text import fit as module
from lib.models.text.classifier import ARRAYS, TextClassifier
from tests.models.text.test_classifier import LOW_RANK, NOUNS, SETTINGS, titles


def fit(
    folder: Path,
    texts: pa.Table,
    label: np.ndarray,
    settings: Text = SETTINGS,
    seed: int = 1,
    threads: int = 1,
) -> TextClassifier:
    folder.mkdir()
    *_, (model, _) = module.fit(folder, texts, label, len(NOUNS), settings, seed, threads)
    return model


def arrays(model: TextClassifier) -> dict[str, bytes]:
    """The bytes of all arrays; a copy, as epochs share the model."""
    names = ARRAYS if model.embedding is None else (*ARRAYS, "embedding")
    return {name: getattr(model, name).tobytes() for name in names}


@pytest.mark.parametrize("settings", [SETTINGS, LOW_RANK], ids=["full", "low_rank"])
@pytest.mark.parametrize("chunk", [7, 50_000])
def test_the_same_seed_gives_the_same_bytes(tmp_path, monkeypatch, chunk, settings):
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "LEAST_CHUNKS", 5 + 5 * (settings is LOW_RANK))  # of 9: processes
    models = [
        fit(tmp_path / str(i), *titles(60), settings, seed=i // 2, threads=1 + i) for i in range(3)
    ]
    first, second, other = map(arrays, models)
    assert first == second
    assert first["weight"] != other["weight"]


@pytest.mark.parametrize("settings", [SETTINGS, LOW_RANK], ids=["full", "low_rank"])
def test_a_stopped_training_resumes_to_the_same_bytes(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "SAVE_SECONDS", -1.0)
    whole = fit(tmp_path / "whole", *titles(60), settings)
    folder = tmp_path / "stopped"
    folder.mkdir()
    texts, label = titles(60)
    epochs = module.fit(folder, texts, label, len(NOUNS), settings, 1)
    assert [next(epochs)[1]["epoch"] for _ in range(2)] == [1, 2]
    epochs.close()  # the state is that of the first epoch
    nothing = texts.slice(0, 0)  # n-grams are those of the stopped call
    resumed = list(module.fit(folder, nothing, label, len(NOUNS), settings, 1))
    assert [figures["epoch"] for _, figures in resumed] == list(range(2, settings.epochs + 1))
    assert arrays(resumed[-1][0]) == arrays(whole)
    state = folder / module.STATE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"state\.npz is damaged"):
        next(module.fit(folder, nothing, label, len(NOUNS), settings, 1))


@pytest.mark.parametrize(
    ("settings", "num_classes", "is_low_rank"),
    [
        (Text(), 1024, False),
        (Text(), 1025, True),
        (Text(num_features=1 << 20), 257, True),
        (Text(weights="full"), 30_000, False),
        (Text(weights="low_rank"), 2, True),
    ],
)
def test_weights_of_many_classes_have_a_low_rank(settings, num_classes, is_low_rank):
    assert module.has_low_rank(settings, num_classes) == is_low_rank


def test_chunks_change_the_order_alone(tmp_path, monkeypatch):
    whole = fit(tmp_path / "whole", *titles(60))
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = fit(tmp_path / "parts", *titles(60))
    for name in ("feature", "idf", "prior"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    texts, label = titles(50, seed=2)
    assert parts.evaluate(texts, label)["valid_accuracy"] == 1
