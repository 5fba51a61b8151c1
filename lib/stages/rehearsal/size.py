"""How many products a rehearsal draws: as many as its networks train and predict in minutes"""

import logging

from lib.config.model import Backbone, Model
from lib.config.schema import Config, network_names
from lib.pipeline.experiment import Experiment
from lib.runtime.workers import num_threads, process_pool
from lib.stages.rehearsal.estimate import VALID_SPEED

logger = logging.getLogger(__name__)

MIN_PRODUCTS, MAX_PRODUCTS = 40, 2000
SECONDS = 240  # for networks; with libraries, features and boosters a rehearsal takes about twice
IMAGES = 2  # of a product, as long as nothing is known of them (Cdiscount: 1.75)
TEST_SHARE = 0.5  # products to classify for each labelled one: `lib/data/subset/draw.py`
READING = 0.002  # seconds to read and decode an image
TIMED_IMAGES, TIMED_CLASSES = 8, 100


def products_in(rehearsal: Experiment, seconds: float = SECONDS) -> int:
    """How many labelled products the networks of a rehearsal train and predict within `seconds`.

    Every network is built and timed on this machine. The result is from MIN_PRODUCTS to
    MAX_PRODUCTS. Raises UserError for a network that is not known.
    """
    cost = product_seconds(rehearsal.config)
    if rehearsal.teacher is not None:
        cost += product_seconds(rehearsal.teacher.config)
    products = int(min(max(seconds / cost, MIN_PRODUCTS), MAX_PRODUCTS))
    logger.info(
        "networks need about %.2g s for each product here: the rehearsal draws %d; --rehearse %d"
        " draws as many as a fast machine would",
        cost,
        products,
        MAX_PRODUCTS,
    )
    return products


def product_seconds(config: Config) -> float:
    """Seconds that all networks of a rehearsal need for one labelled product, and for the share of
    a product to classify that comes with it."""
    passes = forward_passes(config)
    models: dict[str, Model | Backbone] = {**config.backbones, **config.models}
    seconds = _forward_seconds(config, {name: models[name] for name in passes})
    return sum(count * IMAGES * (seconds[name] + READING) for name, count in passes.items())


def forward_passes(config: Config) -> dict[str, float]:
    """Forward passes of each network that sees images, for each image of a labelled product.

    A training step counts as `VALID_SPEED` of them.
    """
    passes = dict.fromkeys(config.backbones, 1 + TEST_SHARE)
    for name, model in config.models.items():
        if model.input in ("embedding", "text"):
            continue
        networks = len(network_names(model))
        share = 1 - 1 / model.n_folds if model.n_folds > 1 else 1.0
        trained = networks * share * (model.head_only_epochs + VALID_SPEED * model.epochs)
        predicted = config.predict.tta_views * (1 + TEST_SHARE * networks)
        is_embedded = name in config.predict.embed_models
        passes[name] = trained + predicted + is_embedded * networks * (1 + TEST_SHARE)
    return passes


def _forward_seconds(config: Config, models: dict[str, Model | Backbone]) -> dict[str, float]:
    """Seconds of a forward pass for each image, with random weights on random pixels.

    Timed in a process of its own, whose memory is free again when the stages start.
    """
    with process_pool(1) as pool:
        return pool.submit(_time_networks, config, models).result()


def _time_networks(config: Config, models: dict[str, Model | Backbone]) -> dict[str, float]:
    """On a CPU one thread is timed: of several, other work on the machine delays all."""
    import numpy as np
    import torch

    from lib.inference.cost import TimedNetwork, measure_forward_ms
    from lib.models import factory
    from lib.runtime import device as devices

    seconds = {}
    rng, threads = np.random.default_rng(0), num_threads(config.run)
    for name, model in models.items():  # one at a time: all of them may not fit into memory
        device = devices.select_device(config.run, model)
        torch.set_num_threads(1 if device.type == "cpu" else threads)
        net = factory.create_model(model.arch, TIMED_CLASSES, "none").eval().to(device)
        images = rng.integers(0, 256, (TIMED_IMAGES, 3, *model.crop), np.uint8)
        timed = TimedNetwork(net, model, images)
        seconds[name] = measure_forward_ms({name: timed}, rounds=1)[name] / 1000
        seconds[name] /= threads if device.type == "cpu" else 1
    torch.set_num_threads(threads)
    return seconds
