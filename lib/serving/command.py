"""`./run_all.sh CONFIG --serve`: a trained catalog as a web service of this machine"""

import argparse
import os
import signal
import threading
import time
from types import FrameType

from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.runtime import workers
from lib.runtime.numba_cache import use_writable_cache

POLL_SECONDS = 0.2
MAX_WAITING = 256  # pictures
NEAR_SIDE = 224  # pixels of the pictures of labelled products


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option of the service; --port is that of --review."""
    parser.add_argument(
        "--serve",
        action="store_true",
        help="answer pictures at an address of this machine until Ctrl-C or SIGTERM (--port N)",
    )


def check_options(arguments: argparse.Namespace) -> None:
    """Raise UserError for options that do not go with --serve."""
    others = ("new", "similar", "rehearse", "review", "verify", "status", "dry_run", "export")
    for name in others if arguments.serve else ():
        if getattr(arguments, name, None) not in (None, False):
            raise UserError(f"--serve answers pictures alone; leave --{name.replace('_', '-')} out")


def serve(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, then answer what has come; returns the exit status, 0.

    Raises UserError as `check_options`, if something is not trained, and for a port in use.
    """
    from lib.labelling.server import bind

    check_options(arguments)
    bound = bind(arguments.port or 0)  # before anything is loaded
    os.environ["TQDM_DISABLE"] = "1"
    run = experiment.config.run
    workers.limit_threads(workers.num_threads(run))
    workers.tune_malloc()
    use_writable_cache()
    from lib.labelling.images import ProductImages
    from lib.serving.app import Service, create_app
    from lib.serving.batcher import Batcher
    from lib.serving.predictor import LoadedPredictor
    from lib.serving.server import DrainingServer

    start, stopped = time.monotonic(), threading.Event()
    with LoadedPredictor(experiment, arguments.config) as predictor:
        predictor.warm_up()
        labelled = predictor.labelled
        images = ProductImages(labelled, NEAR_SIDE) if labelled.path.exists() else None
        batcher = Batcher(predictor, MAX_WAITING)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stopper(stopped))
        server = DrainingServer(create_app(Service(predictor, batcher, images)), bound)
        print(f"loaded in {time.monotonic() - start:.0f} s: open {server.url}", flush=True)
        # A signal may reach another thread; Python hears it when the main one next runs.
        while not stopped.wait(POLL_SECONDS):
            continue
        server.close()
        batcher.close()
        if images is not None:
            images.close()
    print(f"{batcher.num_pictures:,} pictures answered", flush=True)
    return 0


def _stopper(stopped: threading.Event) -> "signal._HANDLER":
    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    return stop
