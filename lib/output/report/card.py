"""The model card: what was trained on what, how good it is, and what the promise does not cover.

Source of the form: Mitchell et al. 2019, Model Cards for Model Reporting.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate
from lib.output.report.blocks import interval, percent

LIMITS = """\
The figures hold for products drawn like the labelled ones: the same shop or camera, the same
classes, about the same share of each class. They do not cover

- products of a class that is not in the list: one of the list is predicted for them;
- products that look unlike the labelled ones. What was measured of that stands above; it is
  measured again for every call with `--new`;
- products without a near twin in training, where the locked part has many: their figure stands
  above, if there is one;
- a promised precision for each class: it holds for the accepted predictions as a whole, with the
  stated confidence, and not for a small class by itself;
- wrong labels. They count as mistakes where the model is right, and as successes where it has
  learned them. `label_issues.csv` lists the suspicious ones.

Nobody has looked at harm that a wrong class may do. Who uses predictions for more than sorting
products should do so first.
"""


class Network(NamedTuple):
    """A trained network; images: that it was trained on. digest: SHA-256 of its last.pt."""

    name: str
    arch: str
    weights: str
    images: int
    epochs: int
    digest: str


class CardFacts(NamedTuple):
    """What a card says; counts, digests and parts by their names.

    scores, promise, calibration: as scores.json, promise.json and calibration.json of `submit`.
    rule: calibration.json of `calibration`.
    """

    name: str
    submitted: str
    counts: Mapping[str, int]
    digests: Mapping[str, str]
    networks: Sequence[Network]
    boosters: Mapping[str, str]
    scores: Sequence[Mapping[str, Any]]
    promise: Mapping[str, Any]
    calibration: Mapping[str, Any]
    rule: Mapping[str, Any]


def model_card(facts: CardFacts) -> str:
    """The card as Markdown; it has the same bytes in every run."""
    blocks = [
        f"# {facts.name}",
        "A classifier of products by their images and ids: networks, a stack of boosters, and the"
        f" `{facts.submitted}` blend of them. The whole is described in the project's README, this"
        " run in `report.html` and `config.toml`.",
        "## Data",
        table(["", "products"], [[name, f"{n:,}"] for name, n in facts.counts.items()]),
        "`fit` and `holdout` train; nothing is fitted to `locked`. Fingerprints of the data:",
        table(["data", "SHA-256"], [[n, _code(digest)] for n, digest in facts.digests.items()]),
        "## Networks",
        table(
            ["network", "architecture", "initial weights", "images", "epochs", "SHA-256"],
            [
                [n.name, n.arch, n.weights, f"{n.images:,}", n.epochs, _code(n.digest)]
                for n in facts.networks
            ],
        ),
        "`imagenet`: published weights of the architecture, trained on ImageNet-1k, whose images"
        " have terms of their own; `none`: random ones. Anything else is a file of the user.",
        "## Boosters",
        table(
            ["booster", "SHA-256 of the artifact"],
            [[n, _code(d)] for n, d in facts.boosters.items()],
        ),
        "## Accuracy",
        *_accuracy(facts),
        "## Calibration",
        _calibration(facts),
        "## What the promise does not cover",
        LIMITS.strip(),
    ]
    return "\n\n".join(blocks) + "\n"


def _code(text: str) -> str:
    return f"`{text}`"


def _accuracy(facts: CardFacts) -> list[str]:
    lines = [f"Out-of-fold: {interval(Estimate(**facts.promise['out_of_fold']))}."]
    if (alone := facts.promise["locked_without_twin"]) is not None:
        count = facts.promise["locked_with_twin"]
        lines.append(
            f"{count:,} locked products have a near twin in training; of the others"
            f" {interval(Estimate(**alone))} are right."
        )
    if "test" in facts.promise:
        test = facts.promise["test"]
        expected = interval(Estimate(**test["expected_accuracy"]))
        alike = "unlike" if test["differs"] else "like"
        lines.append(
            f"The products to classify look {alike} the labelled ones; expect {expected} there."
        )
    rows = [
        [
            row["layer"],
            row["name"],
            f"{row['accuracy']:.4f}",
            f"{row['low']:.4f} .. {row['high']:.4f}",
        ]
        for row in facts.scores
    ]
    number = facts.scores[0]["n"]
    return [
        " ".join(lines),
        f"The locked part, {number:,} products, with 95 % intervals:",
        table(["step", "name", "accuracy", "interval"], rows),
    ]


def _calibration(facts: CardFacts) -> str:
    rule, locked = facts.rule, facts.calibration["locked"]
    text = (
        f"Probabilities are shares of the blend at temperature {rule['temperature']:.3f}, fitted on"
        f" {rule['products']:,} out-of-fold products; the expected calibration error on the locked"
        f" part is {locked['expected_calibration_error']:.3f}."
    )
    wanted = percent(rule["precision"])
    if rule["threshold"] is None or locked["precision"] is None:
        return f"{text} No prediction is accepted there at a precision of {wanted}."
    precision = interval(Estimate(**locked["precision"]))
    coverage = percent(locked["coverage"])
    return (
        f"{text} Predictions from {rule['threshold']:.3f} on are accepted, {coverage} of the locked"
        f" part; {precision} of them are right, {wanted} were asked for with a confidence of"
        f" {percent(rule['level'], 0)}."
    )
