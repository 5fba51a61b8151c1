"""What headline and promise are worth on new products, by catalogs whose truth is known.

    python -m studies.promises --draws 2 --work ../promises --out docs/promises.md

Each draw of a scenario makes a catalog (`studies.bursts`), runs the whole pipeline on it as a user
does, classifies its new products with `--new`, and compares with their true classes:

    headline   accuracy of the submitted blend on the locked part, with its interval
    stated     the last accuracy with an interval in the `ladder.txt` of the new products; it is
               the headline, unless the pipeline states another one for these products
    promise    the precision that accepted predictions reach

A draw that is done is a file in WORK/draws and is not run again, so another version of the code
needs a WORK of its own. `--before CSV` puts its figures (WORK/draws.csv) beside the new ones: the
same draws have the same catalogs. Two draws show a gap of 0.2, but not whether a headline is fair:
with named bursts its interval is +-0.15, so take ten.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.errors import UserError
from lib.utils.files import atomic_write
from studies import bursts
from studies.pages import write_csv
from studies.promise_table import page
from studies.tables import slug

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
CONFIG = """\
name = "run"
work = {work}

[data]
source = "csv"
root = {catalog}
train = "products.csv"
test = ""
group_by = "{group_by}"

[split]
locked = 0.2
n_folds = 4

[backbones.lite0]
arch = "efficientnet_lite0"
resize = {size}
crop = {size}

[models.frozen]
input = "embedding"
fusion.inputs = ["lite0"]
fusion.hidden_sizes = [256]
n_folds = 4
epochs = 12
batch_size = 32
optimizer = "adamw"
lr = 0.001
weight_decay = 0.02

[features]
id_windows = [20]

[stack]
sources = ["mean"]
l2 = ["xgboost", "lightgbm"]
l3 = []
n_estimators = 40
num_leaves = 7
min_data_in_leaf = 5

[run]
threads = 1
workers = 1
"""
SIZES = {"fashion": [96, 72], "vehicles": [128, 128], "luma": [128, 128]}  # of the images
PRODUCTS = {"fashion": (600, 400), "vehicles": (260, 170)}  # labelled and new ones
ESTIMATE = re.compile(
    r"(\d\.\d{4})\s+\((\d\.\d{4}) \.\. (\d\.\d{4})\)"
)  # as an accuracy is printed


@dataclass(frozen=True)
class Scenario:
    """A kind of catalog.

    kind: "fashion", "vehicles" or "luma". share_of_twins: of the labelled products. grouped: the
    config names the bursts (`data.group_by`). new: "other scenes", "same bursts", "another look",
    "another mix" or, for luma, "other styles". times: how many times PRODUCTS there are.
    """

    name: str
    kind: str
    share_of_twins: float = 0.0
    grouped: bool = False
    new: str = "other scenes"
    times: int = 1


SCENARIOS = (
    *(Scenario(f"fashion, {share:.0%} twins", "fashion", share) for share in (0, 0.3, 0.6, 0.9)),
    *(Scenario(f"vehicles, {share:.0%} twins", "vehicles", share) for share in (0, 0.3, 0.6, 0.9)),
    Scenario("fashion, 60% twins, bursts named", "fashion", 0.6, grouped=True),
    Scenario("fashion, 60% twins, new of the same bursts", "fashion", 0.6, new="same bursts"),
    Scenario("fashion, new of another look", "fashion", new="another look"),
    Scenario("fashion, new of another mix", "fashion", new="another mix"),
    Scenario("fashion, 0% twins, 1,800 products", "fashion", times=3),
    Scenario(
        "fashion, 60% twins, 1,800 products, new of the same bursts",
        "fashion",
        0.6,
        new="same bursts",
        times=3,
    ),
    Scenario("luma, new of other styles", "luma", new="other styles"),
    Scenario("luma, new of other styles, styles named", "luma", grouped=True, new="other styles"),
)


def run_draw(scenario: Scenario, draw: int, work: Path) -> dict[str, Any]:
    """The figures of one draw, and the texts that a user reads; from disk if it is done.

    Raises UserError if the pipeline fails.
    """
    key = hashlib.sha256((CONFIG + repr((scenario, SIZES, PRODUCTS))).encode()).hexdigest()[:8]
    path = work / "draws" / f"{slug(scenario.name)}-{draw}-{key}.json"
    if path.exists():
        return json.loads(path.read_text())
    folder = work / path.stem
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted draw
    make_catalog(scenario, draw, folder / "catalog")
    result = {"scenario": scenario.name, "draw": draw, **run_pipeline(scenario, folder)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1))
    shutil.rmtree(folder)
    return result


def make_catalog(scenario: Scenario, seed: int, folder: Path) -> None:
    """Write the catalog of a draw. Raises UserError where the shared data are missing."""
    if not SHARED.is_dir():
        raise UserError(f"{SHARED} is missing; set SHARED_DATA to the folder of the shared data")
    if scenario.kind == "luma":
        bursts.make_style_catalog(folder, SHARED / "luma", seed)
        return
    num_labelled, num_new = (scenario.times * number for number in PRODUCTS[scenario.kind])
    bursts.make_catalog(
        folder,
        read_photos(scenario.kind),
        scenario.share_of_twins,
        num_labelled,
        num_new,
        seed,
        same_bursts=scenario.new == "same bursts",
        changed_mix=scenario.new == "another mix",
        new_camera=bursts.NIGHT if scenario.new == "another look" else bursts.PHONE,
    )


@cache
def read_photos(kind: str) -> list[bursts.Photo]:
    """The photographs of a kind of catalog, read once."""
    if kind == "fashion":
        return bursts.fashion_photos(SHARED / "fashion")
    return bursts.vehicle_photos(SHARED / "openimages" / "photos")


def run_pipeline(scenario: Scenario, folder: Path) -> dict[str, Any]:
    """Run all stages on `folder`/catalog, classify its new products, and read the figures.

    Raises UserError if a run fails.
    """
    catalog, config = folder / "catalog", write_config(scenario, folder)
    command = [sys.executable, "-m", "lib.cli", str(config), "--quiet"]
    _run(command)
    _run([*command, "--new", str((catalog / "new.csv").resolve())])
    (submit,) = (folder / "run" / "new").glob("*/submit")
    return read_figures(folder / "run" / "submit", submit, catalog / "new_labels.csv")


def write_config(scenario: Scenario, folder: Path) -> Path:
    """Write the config of `folder`/catalog; its absolute path."""
    config = folder.resolve() / "config.toml"
    text = CONFIG.format(
        work=json.dumps(str(config.parent)),
        catalog=json.dumps(str(config.parent / "catalog")),
        group_by="burst" if scenario.grouped else "alike",
        size=SIZES[scenario.kind],
    )
    config.write_text(text)
    return config


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(command)} ended with {done.returncode}: {reason}")


def read_figures(submit: Path, new_submit: Path, labels: Path) -> dict[str, Any]:
    """What the pipeline says, and the truth.

    submit: of the labelled products. new_submit: of the new ones. labels: new_labels.csv.
    """
    ladder, new_ladder = ((path / "ladder.txt").read_text() for path in (submit, new_submit))
    rows = json.loads((submit / "scores.json").read_text())
    headline = next(row for row in rows if (row["layer"], row["name"]) == ("blend", "fitted"))
    promise = json.loads((new_submit / "calibration.json").read_text())["precision_wanted"]
    with labels.open(newline="", encoding="utf-8") as file:
        category = {row["product"]: row["category"] for row in csv.DictReader(file)}
    with (new_submit / "predictions.csv").open(newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    right = [row["class_1"] == category[row["product"]] for row in predictions]
    accepted = [row["accepted"] == "true" for row in predictions]
    stated, stated_low, stated_high = stated_accuracy(new_ladder)
    return {
        "headline": headline["accuracy"],
        "low": headline["low"],
        "high": headline["high"],
        "stated": stated,
        "stated_low": stated_low,
        "stated_high": stated_high,
        "warned": is_warned(ladder + new_ladder),
        "new": len(right),
        "truth": round(sum(right) / len(right), 6),
        "promise": promise,
        "accepted": sum(accepted),
        "accepted_right": sum(a and r for a, r in zip(accepted, right, strict=True)),
        "ladder": ladder,
        "new_ladder": new_ladder,
    }


def stated_accuracy(ladder: str) -> tuple[float, float, float]:
    """The last accuracy with its interval in the ladder.txt of new products.

    Raises ValueError if there is none.
    """
    found = ESTIMATE.findall(ladder)
    if not found:
        raise ValueError(f"no accuracy in {ladder!r}")
    value, low, high = map(float, found[-1])
    return value, low, high


def is_warned(ladders: str) -> bool:
    """Whether a line warns that the figures may not hold, as all such lines do: by "caution"."""
    return any(line.startswith("caution") for line in ladders.splitlines())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file that this study wrote. Raises UserError if it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {key: _parse(value) for key, value in row.items()} for row in csv.DictReader(file)
            ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def _parse(text: str) -> Any:
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


def select_scenarios(only: Sequence[str]) -> list[Scenario]:
    """The scenarios named in `only`, or all. Raises UserError for unknown names."""
    names = [scenario.name for scenario in SCENARIOS]
    for name in only:
        if name not in names:
            raise UserError(f"no scenario {name!r}; choose from: {'; '.join(names)}")
    return [scenario for scenario in SCENARIOS if not only or scenario.name in only]


def study(arguments: argparse.Namespace) -> None:
    """Run the draws that are missing; write WORK/draws.csv and the page."""
    before = read_rows(Path(arguments.before)) if arguments.before else []
    scenarios, work = select_scenarios(arguments.only), Path(arguments.work)
    todo = [(scenario, draw) for scenario in scenarios for draw in range(arguments.draws)]
    results = [run_draw(scenario, draw, work) for scenario, draw in tqdm(todo, unit=" draws")]
    rows = [{k: v for k, v in row.items() if "ladder" not in k} for row in results]
    write_csv(work / "draws.csv", rows)
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        temporary.write_text(
            page(rows, before, f"python -m studies.promises --draws {arguments.draws}")
        )


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.promises",
        description="Headline and promise against the truth, on catalogs of bursts.",
        epilog="scenarios: " + "; ".join(scenario.name for scenario in SCENARIOS),
    )
    parser.add_argument("--draws", type=int, default=2, help="of each scenario (%(default)s)")
    parser.add_argument("--work", required=True, metavar="FOLDER", help="of catalogs and draws")
    parser.add_argument("--out", default="docs/promises.md", help="the page (%(default)s)")
    parser.add_argument("--before", metavar="CSV", help="draws.csv of earlier code")
    parser.add_argument("--only", nargs="*", default=[], metavar="SCENARIO", help="(default: all)")
    arguments = parser.parse_args()
    try:
        study(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
