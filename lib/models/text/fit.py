"""Fit a classifier of texts: n-grams on disk by chunks, TF-IDF, epochs of steps

Memory holds one chunk of products and the weights, whatever the number of products. The seed
decides the order, and results do not depend on the number of threads, so that the bytes are the
same on every run, also of one that was stopped and resumed.
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix, load_npz, save_npz

from lib.config.inputs.text import Text
from lib.models.text.classifier import TextClassifier, weigh
from lib.models.text.full_rank import FullRankSteps
from lib.models.text.low_rank import LowRankSteps, first_embedding
from lib.models.text.ngrams import count_ngrams
from lib.pipeline.reading import reading
from lib.runtime.workers import process_pool
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write

CHUNK = 50_000  # products whose n-grams are in memory at a time
LEAST_CHUNKS = 8  # whose n-grams are counted in processes, which take two seconds to start
FULL_RANK = 1 << 28  # n-grams x classes up to which each pair has a weight of its own
SAVE_SECONDS = 120.0  # least time between two saved states
STATE = "state.npz"

Steps = FullRankSteps | LowRankSteps


def fit(
    scratch: Path,
    texts: pa.Table,
    label: np.ndarray,
    num_classes: int,
    settings: Text,
    seed: int,
    threads: int = 1,
) -> Iterator[tuple[TextClassifier, dict[str, Any]]]:
    """Yield the classifier after each epoch, with its number and its steps' loss and accuracy.

    scratch: a folder for n-grams of the chunks, and for states to resume from: with those of a
    stopped call with the same arguments, the first epoch is the one after the last state.
    texts: string columns of n products, in an order that does not matter. label: int [n].
    The same classifier is trained on: copy it to keep it.
    """
    texts = texts.combine_chunks()  # rows are taken in random order
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(label))
    files = _write_counts(scratch, texts, order, settings.num_features, threads)
    document_count = np.zeros(settings.num_features, np.int64)
    for file in files:
        document_count += np.bincount(_load_counts(file).indices, minlength=len(document_count))
    feature = np.flatnonzero(document_count)
    idf = (np.log((1 + len(label)) / (1 + document_count[feature])) + 1).astype(np.float32)
    prior = (np.bincount(label, minlength=num_classes) / max(len(label), 1)).astype(np.float32)
    embedding, inputs = None, len(feature)
    if has_low_rank(settings, num_classes):
        embedding, inputs = first_embedding(rng, len(feature), settings.rank), settings.rank
    weight = np.zeros((inputs + 1, num_classes), np.float32)
    model = TextClassifier(settings.num_features, feature, idf, weight, prior, embedding)
    with ThreadPoolExecutor(threads) as pool:
        steps: Steps = FullRankSteps(weight)
        if embedding is not None:
            steps = LowRankSteps(embedding, weight, pool)
        finished, saved_at = _restore(scratch / STATE, steps, rng), time.monotonic()
        for epoch in range(finished + 1, settings.epochs + 1):
            figures = _train_epoch(model, steps, files, label[order], settings.lr, rng)
            yield model, {"epoch": epoch, **figures}
            if epoch < settings.epochs and time.monotonic() - saved_at > SAVE_SECONDS:
                _save(scratch / STATE, steps, rng, epoch)
                saved_at = time.monotonic()


def _write_counts(
    scratch: Path, texts: pa.Table, order: np.ndarray, num_features: int, threads: int
) -> list[Path]:
    """The n-grams of each chunk of the rows `order`, in a file each; files that exist are kept."""
    parts = list(chunks(len(order), CHUNK))
    files = [scratch / f"{number:05}.npz" for number in range(len(parts))]
    missing = [pair for pair in zip(files, parts, strict=True) if not pair[0].exists()]
    if threads == 1 or len(missing) < LEAST_CHUNKS:
        for file, rows in missing:
            _write_counts_of(file, texts.take(pa.array(order[rows])), num_features)
        return files
    with process_pool(threads) as pool:  # Python's own work, which threads cannot share
        for some in chunks(len(missing), 2 * threads):  # so many texts are sent at a time
            tasks = [
                pool.submit(_write_counts_of, file, texts.take(pa.array(order[rows])), num_features)
                for file, rows in missing[some]
            ]
            for task in tasks:
                task.result()
    return files


def _write_counts_of(file: Path, texts: pa.Table, num_features: int) -> None:
    counts = count_ngrams(texts, num_features)
    with atomic_write(file) as temporary, temporary.open("wb") as opened:
        save_npz(opened, counts, compressed=False)


def _load_counts(path: Path) -> csr_matrix:
    with reading(path):
        return load_npz(path)


def _save(path: Path, steps: Steps, rng: np.random.Generator, epoch: int) -> None:
    """Write all that the epochs after number `epoch` depend on."""
    state = json.dumps({"epoch": epoch, "rng": rng.bit_generator.state})
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, state=np.array(state), **steps.arrays)  # type: ignore[arg-type]


def _restore(path: Path, steps: Steps, rng: np.random.Generator) -> int:
    """Read what `_save` wrote, if there is any; the number of finished epochs."""
    if not path.exists():
        return 0
    with reading(path), np.load(path, allow_pickle=False) as saved:
        for name, array in steps.arrays.items():
            np.copyto(array, saved[name])
        state = json.loads(str(saved["state"]))
        rng.bit_generator.state = state["rng"]
        return int(state["epoch"])


def _train_epoch(
    model: TextClassifier,
    steps: Steps,
    files: Sequence[Path],
    label: np.ndarray,
    lr: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """One pass over all chunks, in random order; label: int [n] of their rows.

    Returns the mean loss and accuracy of its products, each before its step.
    """
    loss, correct, trained = 0.0, 0, 0
    for number in rng.permutation(len(files)).tolist():
        tfidf = weigh(_load_counts(files[number]), model.feature, model.idf)
        of_chunk = label[number * CHUNK : number * CHUNK + len(tfidf.indptr) - 1]
        rows = rng.permutation(np.flatnonzero(np.diff(tfidf.indptr)))  # those that have a text
        for some in chunks(len(rows), steps.batch_size):
            of_batch = steps.step(tfidf[rows[some]], of_chunk[rows[some]], lr)
            loss, correct = loss + of_batch[0], correct + of_batch[1]
        trained += len(rows)
    return {"loss": loss / max(trained, 1), "accuracy": correct / max(trained, 1)}


def has_low_rank(settings: Text, num_classes: int) -> bool:
    """Whether weights have a low rank: as `text.weights` says, or for "auto" by their number."""
    if settings.weights == "auto":
        return settings.num_features * num_classes > FULL_RANK
    return settings.weights == "low_rank"
