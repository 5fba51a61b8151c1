"""The page of a review while it is open: its answers are locked, and it serves until Ctrl-C"""

import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.pipeline.artifact import Artifact, status_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.integrity import check_intact
from lib.stages.order import declare_all
from lib.utils.files import file_lock, fsync

if TYPE_CHECKING:
    from lib.data.catalog import Catalog
    from lib.labelling.review.log import ReviewLog
    from lib.labelling.review.task import ReviewTask

logger = logging.getLogger(__name__)

NEAR_SIDE = 224  # pixels of the pictures of labelled products
ANSWERS, LOCK, NEXT = "answers.sqlite", ".review.lock", ".next"


def finished(experiment: Experiment, name: str) -> Artifact:
    """An artifact of a run. Raises UserError unless it is as the settings say, and intact.

    The files of the user may be gone.
    """
    declared = [artifact for stage in declare_all(experiment).values() for artifact in stage]
    states = status_all([replace(artifact, frozen=True) for artifact in declared])
    path = experiment.path(name)
    if not states[path].fresh:
        raise UserError(f"{path} is {states[path].short()}; run the same command without --review")
    check_intact(path)
    return next(artifact for artifact in declared if artifact.path == path)


@contextmanager
def open_log(folder: Path) -> "Iterator[ReviewLog]":
    """The answers in `folder`, for this process alone. Raises UserError if another has them."""
    from lib.labelling.review.log import ReviewLog

    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(folder / LOCK))
        except BlockingIOError:
            raise UserError(f"{folder}: another --review of these products is open") from None
        log = stack.enter_context(ReviewLog(folder / ANSWERS))
        log.bind({})
        yield log


def serve(task: "ReviewTask", log: "ReviewLog", num_people: int, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    from lib.labelling.images import ProductImages
    from lib.labelling.review.app import ReviewPage, create_app
    from lib.labelling.review.queue import ReviewQueue
    from lib.labelling.server import Server, bind

    if not len(task):
        logger.info("there is nothing to review")
        return
    queue = ReviewQueue(log, task.keys)
    images = ProductImages(task.catalog, most=None)
    near = _open_images(task.labelled)
    page = ReviewPage(task, queue, images, near, num_people)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a script starts
    server = Server(create_app(page), bind(port))
    try:
        print(f"{len(task):,} products, {queue.num_decided:,} decided: open {server.url}")
        print(f"answers: {log.path}; Ctrl-C stops and writes them", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print(flush=True)
    finally:
        server.close()
        for opened in filter(None, (images, near)):
            opened.close()


def _open_images(labelled: "Catalog") -> Any:
    """The pictures of labelled products; None where their files are gone, as `--new` allows."""
    from lib.labelling.images import ProductImages

    return ProductImages(labelled, NEAR_SIDE) if labelled.path.exists() else None


def move_into_place(temporary: Path, folder: Path) -> None:
    """Every file replaces its older one at once; a kill leaves some old and some new ones."""
    for path in sorted(temporary.iterdir()):
        fsync(path)
        path.replace(folder / path.name)
    temporary.rmdir()
    fsync(folder)
