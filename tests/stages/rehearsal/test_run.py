"""Rehearsals of small catalogs in the schema of Cdiscount, stage by stage as the scripts run."""

import json
import re
from pathlib import Path

import pytest

from lib.cli import run_all
from lib.config.data import Sample
from lib.data.synthetic.catalog import generate
from lib.stages.rehearsal import run
from tests import scripts

SMALL = (
    "train.resize=[36,36]",
    "train.crop=[32,32]",
    'train.weights="none"',
    "run.threads=1",
    "run.report=false",
    "data.sha256={}",
    "backbones={}",
    "train.head_only_epochs=0",
    "split.n_folds=2",
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """400 labelled products with up to four images, and 100 to classify, in BSON."""
    folder = tmp_path_factory.mktemp("cdiscount")
    generate(folder, Sample(400, 100, num_classes=8, image_size=32), 1)
    return folder


@pytest.fixture
def forked(monkeypatch):
    """Scripts run in processes that have imported the libraries, which takes the longest."""

    def run_script(command, memory):
        (stage,) = [name for name, script in scripts.SCRIPTS.items() if script == command[1]]
        result = scripts.run_all(*command[2:], stages=[stage])
        memory.peak = 1 << 30
        print(result.stderr)
        return result.returncode

    monkeypatch.setattr(run, "run_script", run_script)


def call(config: str, catalog: Path, work: Path, settings: tuple[str, ...], *more: str) -> int:
    options = [f"work={work}", f"data.root={catalog}", *SMALL, *settings]
    words = [word for option in options for word in ("--set", option)]
    return run_all([f"configs/{config}.toml", "--quiet", *words, *more])


PUBLISHED = (
    "models={folds={arch='small',n_folds=2},once={arch='small',n_folds=1,head='wide',head_rank=4}}",
    "stack.l2=['lightgbm']",
    "stack.l3=['xgboost','lgbm_deep','lgbm_extra']",
)
BEST = (
    "models={net={arch='small',n_folds=2}}",
    "predict.embed_models=['net']",
    "stack.l2=['lambdarank']",
    "stack.l3=[]",
    "stack.sources=['mean']",
)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("config", "settings", "part"),
    [("cdiscount_published", PUBLISHED, "holdout"), ("cdiscount", BEST, "fit")],
)
def test_presets_are_rehearsed_from_bson_to_submission(
    catalog, tmp_path, capsys, config, settings, part
):
    command = (config, catalog, tmp_path, settings)
    assert call(*command, "--dry-run") == 0
    assert "no estimate of the cost yet" in capsys.readouterr().out
    status = call(*command, "--rehearse", "120")
    printed = capsys.readouterr().out
    assert status == 0, printed
    folder = tmp_path / "rehearsal" / config
    for path in ("submit/submission.csv.gz", "submit/scores.json", f"features/candidates/{part}"):
        assert (folder / path).exists()
    facts = json.loads((folder / "extract/train/_manifest.json").read_text())["facts"]
    assert 120 <= facts["products"] < 400
    assert not (tmp_path / config).exists()  # the folder of the whole run
    lines = [line for line in printed.splitlines() if "GiB" in line]
    stages = ["extract", "train", "predict", "features", "stack", "submit", "all"]
    assert [line.split()[0] for line in lines] == stages
    assert "of 400 labelled products" in printed

    assert call(*command, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-7:] == lines
    assert call(*command, "--status") == 0
    left = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"left: about .* for \d+ artifacts, by the rehearsal \(\d+\)", left)
    assert call(*command, "--dry-run", "--set", "train.epochs=90") == 0
    longer = capsys.readouterr().out.splitlines()[-7:]
    assert (longer[0], longer[2]) == (lines[0], lines[2])
    assert longer[1] != lines[1]  # the training of networks
    assert call(*command, "--dry-run", "--set", "features.top_k=2") == 0
    assert "settings have changed since the rehearsal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rehearse", "5"], "--rehearse 5: from 40 to 1,000,000 products"),
        (["--rehearse", "--new", "configs"], "--rehearse and --new exclude each other"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused_in_one_line(capsys, options, message):
    assert run_all(["configs/sample.toml", *options]) == 2
    assert message in capsys.readouterr().err
