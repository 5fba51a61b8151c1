"""The whole chain: which artifact is made of which, by which function.

`stages(config)` only describes; nothing is read and no heavy library is imported until an
artifact is built. `chain_pictures.py` has stages 01 to 03, `chain_ranking.py` the others. Folders
are `work/<experiment>/<stage>/<name>`; see ARCHITECTURE.md.
"""

import os
from collections.abc import Callable

from lib import chain_pictures, chain_ranking, chain_rounds
from lib.artifacts import Artifact
from lib.chain import Chain
from lib.config.schema import Config
from lib.errors import UserError

Stages = dict[str, list[Artifact]]


def stages(config: Config) -> Stages:
    """The artifacts of each stage, every one after its inputs."""
    if not config.models:
        raise UserError("the config names no network; add a table [models.NAME]")
    chain = Chain(config)
    return {
        "extract": chain_pictures.extract(chain),
        "train": [*chain_rounds.labels(chain), *chain_pictures.train(chain)],
        "predict": chain_pictures.predict(chain),
        "features": chain_ranking.features(chain),
        "stack": chain_ranking.stack(chain),
        "submit": chain_ranking.submit(chain),
    }


def threads(config: Config) -> int:
    return config.run.threads or len(os.sched_getaffinity(0))


def closing_words(config: Config, stage: str, say: Callable[[str], None]) -> None:
    """The ladder and where the submission lies, also when nothing had to be made."""
    if stage == "submit":
        folder = config.at("submit")
        say((folder / "ladder.txt").read_text())
        if config.asked is not None:
            say(f"answers: {folder / 'predictions.csv'} and .parquet")
        elif config.has_test:
            say(f"submission: {folder / 'submission.csv.gz'}")
        else:
            say("no submission: data.test names no products to classify")
