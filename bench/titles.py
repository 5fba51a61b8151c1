"""The text model at the competition's size, against scikit-learn on the same titles in one run.

    python -m bench.titles --json
    python -m bench.titles --titles 7069896 --classes 5270 --new 1768182 --epochs 2 --problems 8

Titles are generated: words with Zipf's frequencies, and for each class words of its own, of its
group and of its department. Words of one class are those of others too. Baseline: `TfidfVectorizer`
and `SGDClassifier(loss="log_loss")` with their defaults, words alone. Both fit all titles and
predict the new ones.

--problems K: of the one-vs-rest problems of the baseline, whose number is that of the classes, it
fits K; times of its fit and prediction are those of the vectorizer, and of the problems times
classes / K. Its peak is that of K problems. It has no accuracy then.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from tqdm import tqdm

from bench import report
from bench.report import Measurement, Row
from lib.config.inputs.text import Text
from lib.config.schema import Predict
from lib.inference.text_predictor import TextPredictor
from lib.inference.topk import TopK
from lib.inference.topk_writer import write_topk
from lib.models.text.classifier import TextClassifier
from lib.models.text.fit import fit
from lib.pipeline.reading import read_table
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write

VOCABULARY = 500_000
ZIPF = 1.05  # exponent of the frequencies of words
LENGTH, LEAST, MOST = 5.5, 3, 20  # words of a title: LEAST + Poisson(LENGTH), at most MOST
LEVELS = {"class": (12, 0.25), "group": (20, 0.15), "department": (60, 0.1)}  # words, share
GROUP, DEPARTMENT = 15, 300  # classes
RANKS = 200, 100_000  # of the words of classes
TITLES = 100_000  # generated at a time
BUDGET = 16_000  # MB of memory
COLUMN = "title"

MIN_RATIOS = {
    "cpu_vs_sklearn": 1,
    "memory_vs_sklearn": 0.5,
    "memory_of_budget": 1,
    "accuracy": 0.98,
}


@dataclass(frozen=True)
class Size:
    """What is generated and fitted: files of `folder`; settings of ours; problems of the baseline.

    problems: one-vs-rest problems that the baseline fits; 0 = all classes.
    """

    folder: Path
    classes: int
    text: Text
    threads: int
    problems: int


@dataclass
class Phases:
    """Seconds, CPU seconds and peak memory in MB of each phase, and the accuracy at its end."""

    figures: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    accuracy: float | None = None
    note: str = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what is run in the context."""
        wall, cpu = time.perf_counter(), report.cpu_seconds()
        yield
        wall, cpu = time.perf_counter() - wall, report.cpu_seconds() - cpu
        self.figures[name] = wall, cpu, report.resident_mb("VmHWM")


def write_titles(path: Path, count: int, classes: int, seed: int) -> None:
    """Write `count` titles as a table of Arrow: title, and label int32, its class."""
    vocabulary = _vocabulary()
    frequency = np.arange(1, VOCABULARY + 1) ** -ZIPF
    share = (np.arange(classes) + 40.0) ** -1.2
    share = np.random.default_rng(1).permutation(share / share.sum())
    words_of_level = [
        _class_words(level, -(-classes // size), words)
        for level, (size, (words, _)) in enumerate(
            zip((1, GROUP, DEPARTMENT), LEVELS.values(), strict=True)
        )
    ]
    shares = [level_share for _, level_share in LEVELS.values()]
    kinds = np.cumsum([*shares])
    cumulative = np.cumsum(frequency / frequency.sum())
    schema = pa.schema({COLUMN: pa.string(), "label": pa.int32()})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        bar = tqdm(chunks(count, TITLES), desc="Titles", unit=" chunks", disable=None)
        for number, some in enumerate(bar):
            rng = np.random.default_rng([seed, number])
            label = rng.choice(classes, some.stop - some.start, p=share).astype(np.int32)
            length = np.minimum(LEAST + rng.poisson(LENGTH, len(label)), MOST)
            of_word = np.repeat(label, length)
            word = np.searchsorted(cumulative, rng.random(len(of_word)))
            word = np.minimum(word, VOCABULARY - 1)
            kind = np.searchsorted(kinds, rng.random(len(of_word)), "right")
            for level, size in enumerate((1, GROUP, DEPARTMENT)):
                chosen = np.flatnonzero(kind == level)
                table = words_of_level[level]
                place = (table.shape[1] * rng.random(len(chosen)) ** 2).astype(int)
                word[chosen] = table[of_word[chosen] // size, place]
            offsets = pa.array(np.concatenate([[0], np.cumsum(length)]).astype(np.int32))
            lists = pa.ListArray.from_arrays(offsets, vocabulary.take(pa.array(word)))
            writer.write_batch(
                pa.record_batch([pc.binary_join(lists, " "), pa.array(label)], schema=schema)
            )


def _vocabulary() -> pa.Array:
    """Words of syllables, the frequent ones short; one in ten ends with a number."""
    rng = np.random.default_rng(0)
    syllables = np.array([a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "en")])
    length = 1 + rng.poisson(0.5 + 0.12 * np.log(np.arange(1, VOCABULARY + 1)))
    words = np.full(VOCABULARY, "", dtype="U32")
    for place in range(min(length.max(), 8)):
        longer = length > place
        words[longer] = np.strings.add(words[longer], rng.choice(syllables, longer.sum()))
    numbered = rng.random(VOCABULARY) < 0.1
    numbers = rng.integers(1, 1000, numbered.sum()).astype("U4")
    words[numbered] = np.strings.add(words[numbered], numbers)
    return pa.array(words)


def _class_words(level: int, count: int, words: int) -> np.ndarray:
    """Words of classes, groups or departments, the frequent ones first: int [count, words]."""
    rng = np.random.default_rng([2, level])
    return np.exp(rng.uniform(math.log(RANKS[0]), math.log(RANKS[1]), (count, words))).astype(int)


def ours(size: Size) -> Callable[[], Phases]:
    """The text model: n-grams from disk by chunks, weights, and the best classes of each title."""
    with tempfile.TemporaryDirectory() as folder:  # compile first
        texts = pa.table({COLUMN: ["red bag", "blue shoe"]})
        some = replace(size.text, epochs=1)
        (model, _) = next(fit(Path(folder), texts, np.array([0, 1]), 2, some, 1, size.threads))
        model.predict(texts)

    def work() -> Phases:
        phases = Phases()
        table = read_table(size.folder / "train.arrow")
        scratch, dump = size.folder / "scratch", size.folder / "topk"
        for folder in (scratch, dump):
            folder.mkdir(exist_ok=True)
        with phases.phase("fit"):
            label = table["label"].to_numpy()
            texts = table.select([COLUMN])
            start = time.perf_counter()
            epochs = fit(scratch, texts, label, size.classes, size.text, 1, size.threads)
            for model, figures in epochs:  # noqa: B007 (saved after the last)
                seconds, start = time.perf_counter() - start, time.perf_counter()
                line = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"{line}, {seconds:.0f} s", file=sys.stderr, flush=True)
            model.save(size.folder)
        with phases.phase("predict"):
            new = read_table(size.folder / "new.arrow")
            rows = np.arange(len(new))
            predictor = TextPredictor(
                [TextClassifier.load(size.folder)], new.select([COLUMN]), rows
            )
            write_topk(dump, predictor, Predict(), rows, None, center_view=False)
        classes = TopK.load(dump).classes[:, 0]
        phases.accuracy = float((classes == new["label"].to_numpy()).mean())
        return phases

    return work


def sklearn(size: Size) -> Callable[[], Phases]:
    """The baseline, all of it in memory."""

    def work() -> Phases:
        phases = Phases()
        table, new = (read_table(size.folder / f"{name}.arrow") for name in ("train", "new"))
        label, truth = table["label"].to_numpy(), new["label"].to_numpy()
        vectorizer = TfidfVectorizer()
        model = SGDClassifier(loss="log_loss", random_state=1, n_jobs=size.threads)
        with phases.phase("fit, vectorizer"):
            tfidf = vectorizer.fit_transform(table[COLUMN].to_pylist())
        if not size.problems:
            with phases.phase("fit, classifier"):
                model.fit(tfidf, label)
            with phases.phase("predict"):
                found = [
                    model.predict(vectorizer.transform(new[COLUMN][some].to_pylist()))
                    for some in chunks(len(new), TITLES)
                ]
            phases.accuracy = float((np.concatenate(found) == truth).mean())
            return phases
        chosen = np.random.default_rng(0).choice(np.unique(label), size.problems, replace=False)
        models = []
        with phases.phase("fit, classifier"):
            for number in chosen.tolist():
                one = SGDClassifier(loss="log_loss", random_state=1)
                models.append(one.fit(tfidf, label == number))
        with phases.phase("predict, vectorizer"):
            of_new = vectorizer.transform(new[COLUMN].to_pylist())
        with phases.phase("predict, classifier"):
            for one in models:
                one.decision_function(of_new)
        for name in ("fit, classifier", "predict, classifier"):
            wall, cpu, peak = phases.figures[name]
            times = size.classes / size.problems
            phases.figures[name] = wall * times, cpu * times, peak
        passes = np.mean([one.n_iter_ for one in models])
        coef = tfidf.shape[1] * size.classes * 8 / 1e9
        phases.note = f"{passes:.1f} passes; coef_ of all classes would be {coef:.1f} GB"
        return phases

    return work


def main() -> None:
    """Write the titles, measure both sides and print the report."""
    parser = report.parser("bench.titles", __doc__)
    parser.set_defaults(runs=1)
    parser.add_argument("--titles", type=int, default=70_000, help="to fit (%(default)s)")
    parser.add_argument("--new", type=int, default=20_000, help="to predict (%(default)s)")
    parser.add_argument("--classes", type=int, default=500, help="(%(default)s)")
    for name in ("weights", "rank", "epochs", "num_features", "lr"):
        default = getattr(Text(), name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=report.cores(), help="(%(default)s)")
    parser.add_argument("--problems", type=int, default=0, help="of the baseline; 0 = all classes")
    parser.add_argument(
        "--folder", help="for the files, which stay there; default: a temporary one"
    )
    parser.add_argument("--only", choices=("ours", "sklearn"), help="one side, without ratios")
    arguments = parser.parse_args()
    if arguments.folder:
        Path(arguments.folder).mkdir(parents=True, exist_ok=True)
        measure_all(Path(arguments.folder), arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure_all(Path(folder), arguments)


def measure_all(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure both sides on the same titles and print the report."""
    for seed, (name, count) in enumerate((("train", arguments.titles), ("new", arguments.new))):
        path = folder / f"{name}.arrow"
        if not path.exists():
            with atomic_write(path) as temporary:
                write_titles(temporary, count, arguments.classes, seed)
    text = Text(
        weights=arguments.weights,
        rank=arguments.rank,
        epochs=arguments.epochs,
        num_features=arguments.num_features,
        lr=arguments.lr,
    )
    size = Size(folder, arguments.classes, text, arguments.threads, arguments.problems)
    tasks = {"ours": ours, "sklearn": sklearn}
    calls: dict[str, Callable[[], Measurement]] = {
        name: partial(_measure, name, task, size)
        for name, task in tasks.items()
        if arguments.only in (None, name)
    }
    runs = report.run_in_turns(calls, arguments.runs)
    rows, totals = [], {}
    for name, repeats in runs.items():
        for phase in repeats[0].result.figures:
            count = arguments.new if phase.startswith("predict") else arguments.titles
            of_phase = [Measurement(*run.result.figures[phase]) for run in repeats]
            rows.append(Row(f"{name}, {phase}", count, "title", of_phase))
        totals[name] = Row(
            f"{name}, total", arguments.titles, "title", [_total(run) for run in repeats]
        )
        rows.append(totals[name])
    title = f"{arguments.titles:,} titles, {arguments.new:,} new, {arguments.classes:,} classes"
    if arguments.only:
        report.print_table(title, rows)
    else:
        ratios = _ratios(totals["sklearn"], totals["ours"], runs)
        report.print_report("titles", title, rows, ratios, MIN_RATIOS, arguments.json)
    for name, repeats in runs.items():
        phases = repeats[0].result
        accuracy = "" if phases.accuracy is None else f"accuracy {phases.accuracy:.4f}"
        print(f"{name}: {accuracy}{phases.note}", file=sys.stderr)


def _measure(name: str, task: Callable[[Size], Callable[[], Phases]], size: Size) -> Measurement:
    """Measure one side, and say its figures at once: the other may take long."""
    measurement = report.measure(task, size)
    for phase, (wall, cpu, peak) in measurement.result.figures.items():
        line = f"{name}, {phase}: {wall:.1f} s, CPU {cpu:.1f} s, {peak:.0f} MB"
        print(line, file=sys.stderr, flush=True)
    return measurement


def _total(run: Measurement) -> Measurement:
    """Time of all phases of a run; its peak memory."""
    figures = run.result.figures.values()
    return Measurement(sum(f[0] for f in figures), sum(f[1] for f in figures), run.peak)


def _ratios(sklearn: Row, ours: Row, runs: dict[str, list[Measurement]]) -> dict[str, float]:
    """Ratios of time and memory, and of accuracy where the baseline has one."""
    ratios = {
        "cpu_vs_sklearn": report.ratio(sklearn, ours, "cpu"),
        "memory_vs_sklearn": report.ratio(sklearn, ours, "peak"),
        "memory_of_budget": BUDGET / ours.peak,
    }
    theirs = runs["sklearn"][0].result.accuracy
    if theirs is not None:
        ratios["accuracy"] = runs["ours"][0].result.accuracy / theirs
    return ratios


if __name__ == "__main__":
    main()
