"""A loaded predictor against the bare forward passes of its networks, and the service under load.

    python -m bench.serving --config configs/mine.toml --pictures FOLDER

The baseline is one forward pass of every network and view that an image of the catalog needs, on an
image that is decoded and in memory. Both are measured in turns in one process. Then the service
runs as a process of its own; `--flying` requests of one picture each are in flight all the time,
and at the end SIGTERM comes while as many wait.
"""

import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import report
from lib.config.model import Backbone, Model
from lib.pipeline.experiment import Experiment, load_experiment
from lib.pipeline.predict_target import IMAGE_SUFFIXES
from lib.runtime import workers
from lib.serving.predictor import LoadedPredictor

MIN_RATIOS = {"forward_vs_predict": 1 / 3, "answered": 1.0}
ROUNDS = 30


class Load(NamedTuple):
    """Seconds of each request that was answered, ascending; the number of the others; of all."""

    seconds: list[float]
    lost: int
    wall: float

    def quantile(self, share: float) -> float:
        """Seconds in which this share of the requests was answered."""
        return float(np.quantile(self.seconds, share))


def ask(port: int, picture: bytes) -> float | None:
    """Seconds until the answer to one picture; None for another status than 200."""
    start = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", "/predict", picture)
        response = connection.getresponse()
        response.read()
    except OSError:
        return None
    finally:
        connection.close()
    return time.perf_counter() - start if response.status == 200 else None


def put_under_load(port: int, pictures: Sequence[bytes], requests: int, flying: int) -> Load:
    """Send so many requests, of which `flying` are in flight at a time."""
    start = time.perf_counter()
    asked = itertools.islice(itertools.cycle(pictures), requests)
    with ThreadPoolExecutor(flying) as pool:
        seconds = list(pool.map(lambda picture: ask(port, picture), asked))
    answered = sorted(value for value in seconds if value is not None)
    return Load(answered, requests - len(answered), time.perf_counter() - start)


@contextmanager
def service(config: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """The port and the process of a service; it is stopped at the end."""
    command = [sys.executable, "-m", "lib.cli", config, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)/", process.stdout.readline())
        if found is None:
            raise SystemExit("the service has not started, see above")
        try:
            yield int(found[1]), process
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


def forward_passes(experiment: Experiment) -> Callable[[], None]:
    """A function that runs every network of images once for each of its views."""
    import torch  # here, after the threads are limited: OpenMP reads them when it starts

    from lib.models.classifier import ImageClassifier
    from lib.runtime import device as devices
    from lib.stages.near_twins import BACKBONE
    from lib.stages.scoring import checkpoint_paths
    from lib.stages.train import image_models
    from lib.training.checkpoint import load_backbone, load_classifier

    config = experiment.config
    work: list[tuple[ImageClassifier, Model | Backbone, int]] = []
    for model in (BACKBONE, *config.backbones.values()):
        work.append((load_backbone(model, devices.select_device(config.run, model)), model, 1))
    for name, network in image_models(experiment).items():
        device = devices.select_device(config.run, network)
        for path in checkpoint_paths(experiment, name):
            net = load_classifier(path, network, device)
            work.append((net, network, config.predict.tta_views))
    images = [torch.zeros(1, 3, *model.crop, dtype=torch.uint8) for _, model, _ in work]

    @torch.inference_mode()
    def run() -> None:
        for (net, model, views), image in zip(work, images, strict=True):
            for _ in range(views):
                with devices.autocast(model, net.mean.device):
                    net(net.normalise(image.to(net.mean.device)))

    run()  # fuse
    return run


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print the report."""
    parser = report.parser("bench.serving", __doc__)
    parser.add_argument("--config", required=True, help="of a trained catalog")
    parser.add_argument("--pictures", required=True, help="a folder of pictures to classify")
    parser.add_argument("--requests", type=int, default=400, help="(%(default)s)")
    parser.add_argument("--flying", type=int, default=20, help="at a time (%(default)s)")
    arguments = parser.parse_args()
    paths = sorted(Path(arguments.pictures).iterdir())
    pictures = [p.read_bytes() for p in paths if p.suffix.lower() in IMAGE_SUFFIXES]

    experiment = load_experiment(arguments.config)
    workers.limit_threads(workers.num_threads(experiment.config.run))
    with LoadedPredictor(experiment, arguments.config) as predictor:
        forward = forward_passes(experiment)
        predictor.warm_up()
        one = {"one.jpg": pictures[0]}
        turns = [
            (seconds_of(forward), seconds_of(lambda: predictor.predict_each(one)))
            for _ in range(ROUNDS)
        ]
    forward_ms, predict_ms = 1000 * np.median(turns, axis=0)
    print(f"{report.describe_machine()}\n")
    print(f"forward passes {forward_ms:.0f} ms, one product predicted {predict_ms:.0f} ms")

    with service(arguments.config) as (port, process):
        load = put_under_load(port, pictures, arguments.requests, arguments.flying)
        with ThreadPoolExecutor(arguments.flying) as pool:
            last = [pool.submit(ask, port, pictures[0]) for _ in range(arguments.flying)]
            time.sleep(load.quantile(0.5) / 2)
            process.send_signal(signal.SIGTERM)
            lost = load.lost + sum(task.result() is None for task in last)
    print(
        f"{arguments.flying} requests in flight: p50 {1000 * load.quantile(0.5):.0f} ms,"
        f" p99 {1000 * load.quantile(0.99):.0f} ms, {len(load.seconds) / load.wall:.1f} a second;"
        f" {lost} lost, exit status {process.returncode}"
    )
    total = arguments.requests + arguments.flying
    ratios = {
        "forward_vs_predict": float(np.median([a / b for a, b in turns])),
        "answered": (total - lost) / total,
    }
    report.print_ratios(ratios, MIN_RATIOS)
    if arguments.json:
        rounded = {name: round(value, 4) for name, value in ratios.items()}
        print(json.dumps({"bench": "serving", "ratios": rounded}))


if __name__ == "__main__":
    main()
