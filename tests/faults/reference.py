"""A small catalog, and a whole run of it without faults: what every run must end with."""

import filecmp
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bson

from lib.config.schema import Sample
from lib.data.synthetic.catalog import generate
from lib.pipeline.experiment import load_experiment
from lib.pipeline.manifest import MANIFEST
from lib.stages.order import STAGES, declare_all
from tests.faults.server import Ended, Server

CONFIG = """
name = "faults"
[data]
root = "{root}/data"
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
resize = [24, 24]
crop = [20, 20]
head_only_epochs = 0
epochs = 2
n_folds = 2
[models.a]
[predict]
shard_size = 40
tta_views = 2
embed_models = ["a"]
[features]
id_windows = [5, 50]
[stack]
sources = ["mean"]
l2 = ["xgboost", "lightgbm", "catboost", "random_forest", "lambdarank"]
l3 = ["xgboost"]
n_estimators = 3
forest_n_estimators = 3
[run]
threads = 1
report = false
"""
SAMPLE = Sample(train_products=100, test_products=30, num_classes=5, image_size=24)
NEW = "new.bson"
# Times of a build, messages, and what a run leaves for the next: they differ between equal runs.
IGNORED = (".log", ".lock", "submit/report.html")


@dataclass(frozen=True)
class Reference:
    """A finished experiment in `folder`: data/, faults.toml, new.bson and work/faults/.

    It was made in `origin`, and every copy has to lie there: the name of the folder of new
    products depends on their path.

    stage_of: the stage of each artifact, by the path of its folder relative to work/faults. Those
        of new products begin with "new/".
    """

    folder: Path
    origin: Path
    stage_of: dict[str, str]

    @property
    def work(self) -> Path:
        """The folder of the experiment."""
        return self.folder / "work" / "faults"

    def copy(self) -> Path:
        """A copy to break, in `origin`."""
        return Path(shutil.copytree(self.folder, self.origin, symlinks=True))


def arguments(folder: Path, new: bool) -> list[str]:
    """The arguments of every script; `new`: to classify new products."""
    options = ["--config", str(folder / "faults.toml"), "--set", f"work={folder / 'work'}"]
    return [*options, "--new", str(folder / NEW)] if new else options


def build_reference(server: Server, root: Path, with_new: bool = True) -> Reference:
    """Generate the catalog and run all stages, for labelled and for new products."""
    folder = root / "copy"
    (folder / "data").mkdir(parents=True)
    (folder / "faults.toml").write_text(CONFIG.format(root=folder))
    generate(folder / "data", SAMPLE, seed=1)
    _write_new_products(folder / "data" / "test.bson", folder / NEW)
    stage_of: dict[str, str] = {}
    for new in (False, True) if with_new else (False,):
        ended = server.start([stage.NAME for stage in STAGES], arguments(folder, new)).wait()
        if ended.exit_status:
            raise RuntimeError(ended.stderr)
        stage_of |= _stages_of_artifacts(folder, new)
    shutil.copytree(folder, root / "reference")
    shutil.rmtree(folder)
    return Reference(root / "reference", folder, stage_of)


def _write_new_products(source: Path, path: Path) -> None:
    """Half of the products to classify: equal files would give artifacts with equal digests."""
    records = bson.decode_all(source.read_bytes())
    path.write_bytes(b"".join(bson.encode(record) for record in records[::2]))


def _stages_of_artifacts(folder: Path, new: bool) -> dict[str, str]:
    options = arguments(folder, new)
    overrides = [options[i + 1] for i, word in enumerate(options) if word == "--set"]
    experiment = load_experiment(options[1], overrides, str(folder / NEW) if new else None)
    return {
        str(artifact.path.relative_to(experiment.folder)): stage
        for stage, artifacts in declare_all(experiment).items()
        for artifact in artifacts
        if not artifact.frozen
    }


def different_files(reference: Reference, folder: Path) -> list[str]:
    """Files of the experiment in `folder` that differ from the reference, are missing or too many.

    Leftovers of an interrupted build count as too many.
    """
    expected, found = _files(reference.work), _files(folder / "work" / "faults")
    odd = sorted(expected ^ found)
    for name in sorted(expected & found):
        paths = (reference.work / name, folder / "work" / "faults" / name)
        if not filecmp.cmp(*paths, shallow=False):
            odd.append(name)
    return odd


def rebuilt_artifacts(reference: Reference, folder: Path) -> set[str]:
    """Artifacts whose manifest is not the one of the reference: they have been built again."""
    work = folder / "work" / "faults"
    return {
        name
        for name in reference.stage_of
        if not _same_text(reference.work / name / MANIFEST, work / name / MANIFEST)
    }


def _same_text(first: Path, second: Path) -> bool:
    return second.is_file() and first.read_bytes() == second.read_bytes()


def _files(work: Path) -> set[str]:
    return {
        str(path.relative_to(work))
        for path in work.rglob("*")
        if not (path.as_posix().endswith(IGNORED) or path.name.startswith("_"))
        and path.relative_to(work).parts[0] != "config.toml"
        and (path.is_file() or path.is_symlink())
    }


def clear_line(ended: Ended) -> str | None:
    """What is wrong with how a run ended; None: a success, or one clear line and its status."""
    for word in ("Traceback", "Exception ignored", "Warning:", "terminate called", "core dumped"):
        if word in ended.stderr:
            return f"printed {word!r}"
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    if ended.exit_status in (0, 137):  # SIGKILL leaves no time for words
        return f"status {ended.exit_status} with an error line" if errors else None
    if ended.exit_status not in (2, 130, 141, 143):
        return f"status {ended.exit_status}"
    if len(errors) != 1:
        return f"status {ended.exit_status} with {len(errors)} error lines"
    return None


def error_line(ended: Ended) -> str:
    """The line that says what is wrong, or an empty text."""
    lines: Sequence[str] = ended.stderr.splitlines()
    return next((line for line in lines if line.startswith("error: ")), "")
