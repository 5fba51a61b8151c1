"""The model card of a run, from the manifests of its artifacts"""

from typing import TYPE_CHECKING, Any

from lib.config.schema import network_names
from lib.pipeline.experiment import Experiment
from lib.pipeline.manifest import read_manifest

if TYPE_CHECKING:
    from lib.data.catalog import Catalog


def card_of_run(experiment: Experiment, catalog: "Catalog") -> str:
    """The model card of the run."""
    from lib.data.catalog import read_splits
    from lib.output.report.card import CardFacts, Network, model_card
    from lib.pipeline.reading import read_json
    from lib.stages.read import all_boosters

    config, submit = experiment.config, experiment.path("submit")
    splits = read_splits(experiment.path("extract/splits"))
    counts = {"labelled": len(catalog.product_id)}
    counts |= {part: len(splits.products(part)) for part in ("fit", "holdout", "locked")}
    networks = []
    for name, model in config.models.items():
        for fold in network_names(model):
            manifest = manifest_of(experiment, f"cnn/{name}/{fold}")
            facts, weights = manifest["facts"], model.weights
            if digest := manifest["inputs"].get("weights"):
                weights += f" ({digest})"
            is_text = model.input == "text"
            file = manifest["files"]["weight.npy" if is_text else "last.pt"]["sha256"]
            arch = {"embedding": "fusion", "text": "linear"}.get(model.input, model.arch)
            weights = "none" if is_text else weights
            network = Network(
                f"{name}/{fold}", arch, weights, facts["images"], facts["epochs"], file
            )
            networks.append(network)
    sources = manifest_of(experiment, "extract/train")["inputs"]
    boosters = ["/".join(member) for member in all_boosters(experiment)]
    return model_card(
        CardFacts(
            config.name,
            config.blend.submit,
            counts,
            {
                **sources,
                "index of the labelled": manifest_of(experiment, "extract/train")["digest"],
            },
            networks,
            {name: manifest_of(experiment, f"stack/{name}")["digest"] for name in boosters},
            read_json(submit / "scores.json"),
            read_json(submit / "promise.json"),
            read_json(submit / "calibration.json"),
            read_json(experiment.path("calibration") / "calibration.json"),
        )
    )


def manifest_of(experiment: Experiment, name: str) -> dict[str, Any]:
    """The manifest of a finished artifact."""
    manifest = read_manifest(experiment.path(name))
    assert manifest is not None, "the inputs of an artifact are finished"
    return manifest
