"""The review page: what the models were not sure of, decided by people at this machine"""

import math
from typing import Any

import flask

from lib.labelling.images import ProductImages
from lib.labelling.review.log import ABSENT, CLASS, SKIP, Answer
from lib.labelling.review.queue import ReviewQueue, StaleProduct
from lib.labelling.review.task import ReviewTask
from lib.labelling.server import local_app, request_body, request_integer

SPOKEN = {ABSENT: "not in the list", SKIP: "skipped"}


class ReviewPage:
    """What the routes share.

    images: of the products. near_images: of the labelled ones; None where their files are gone.
    """

    def __init__(
        self,
        task: ReviewTask,
        queue: ReviewQueue,
        images: ProductImages,
        near_images: ProductImages | None,
        num_people: int,
    ) -> None:
        self.task, self.queue, self.num_people = task, queue, num_people
        self.images, self.near_images = images, near_images
        self.labelled = bool((task.label >= 0).any())
        self.name_of = dict(zip(task.class_keys, task.class_names, strict=True))

    def check_person(self, person: int) -> None:
        """Status 404 for an unknown person."""
        if not 1 <= person <= self.num_people:
            flask.abort(404, f"There is no person {person}, only 1 to {self.num_people}.")

    def state(self, person: int) -> dict[str, Any]:
        """What the page shows next, as JSON."""
        turn = self.queue.turn(person)
        return {
            "total": len(self.task),
            "decided": turn.decided,
            "own": turn.own,
            "skipped": turn.skipped,
            "last": None if turn.last is None else self._spoken(turn.last),
            "item": None if turn.product is None else self._item(turn.product),
        }

    def _spoken(self, answer: Answer) -> dict[str, str]:
        key = answer.class_key
        said = SPOKEN[answer.kind] if key is None else self.name_of.get(key, key)
        return {"product": answer.product, "said": said}

    def _item(self, place: int) -> dict[str, Any]:
        task = self.task
        chosen = [c for c in task.choices[place].tolist() if c >= 0]
        known = task.probabilities[place, : len(chosen)].tolist()
        chances = [None if math.isnan(chance) else chance for chance in known]
        near = [rank for rank, row in enumerate(task.near.product[place].tolist()) if row >= 0]
        return {
            "place": place,
            "product": task.keys[place],
            "reason": task.reasons[place],
            "images": self.images.count(int(task.products[place])),
            "choices": [list(pair) for pair in zip(chosen, chances, strict=True)],
            "near": [self._near(place, rank) for rank in near],
            "label": int(task.label[place]) if task.label[place] >= 0 else None,
        }

    def _near(self, place: int, rank: int) -> dict[str, Any]:
        near, labelled = self.task.near, self.task.labelled
        row = int(near.product[place, rank])
        return {
            "rank": rank,
            "product": labelled.key(row),
            "class_id": int(labelled.label[row]),
            "cosine": float(near.cosine[place, rank]),
            "image": self.near_images is not None,
        }


def create_app(page: ReviewPage) -> flask.Flask:
    """The web application of a review."""
    app = local_app()
    _add_pages(app, page)
    _add_images(app, page)
    _add_actions(app, page)
    return app


def _add_pages(app: flask.Flask, page: ReviewPage) -> None:
    task, queue = page.task, page.queue

    @app.get("/")
    def start() -> str:
        """The list of people with what each has decided."""
        rows = [(person, queue.num_own(person)) for person in range(1, page.num_people + 1)]
        return flask.render_template(
            "review_start.html",
            rows=rows,
            decided=queue.num_decided,
            total=len(task),
            labelled=page.labelled,
        )

    @app.get("/person/<int:person>")
    def review(person: int) -> str:
        """The page on which a person decides."""
        page.check_person(person)
        return flask.render_template(
            "review.html",
            person=person,
            total=len(task),
            class_names=task.class_names,
            labelled=page.labelled,
        )

    @app.get("/person/<int:person>/state")
    def state(person: int) -> dict[str, Any]:
        """What the person sees now."""
        page.check_person(person)
        return page.state(person)


def _add_images(app: flask.Flask, page: ReviewPage) -> None:
    task = page.task

    @app.get("/image/<int:place>/<int:index>")
    def image(place: int, index: int) -> flask.Response:
        """An image of a product, as PNG."""
        if place >= len(task) or index >= page.images.count(int(task.products[place])):
            flask.abort(404, "There is no such image.")
        return _png(page.images.png(int(task.products[place]), index))

    @app.get("/near/<int:place>/<int:rank>")
    def near(place: int, rank: int) -> flask.Response:
        """The most alike image of a labelled product that is near, as PNG."""
        rows = task.near.image
        inside = place < len(task) and rank < rows.shape[1]
        if page.near_images is None or not inside or rows[place, rank] < 0:
            flask.abort(404, "There is no such image.")
        return _png(page.near_images.png_of_row(int(rows[place, rank])))


def _add_actions(app: flask.Flask, page: ReviewPage) -> None:
    queue, class_keys = page.queue, page.task.class_keys

    @app.errorhandler(StaleProduct)
    def stale(_: StaleProduct) -> tuple[dict[str, Any], int]:
        """Status 409 with what the person really sees now."""
        assert flask.request.view_args is not None
        return page.state(flask.request.view_args["person"]), 409

    @app.post("/person/<int:person>/answer")
    def answer(person: int) -> dict[str, Any]:
        """Record a class, "not in the list", or a skip."""
        page.check_person(person)
        product, kind = _text("product"), _text("kind")
        if kind not in (CLASS, ABSENT, SKIP):
            flask.abort(400, f"kind must be {CLASS}, {ABSENT} or {SKIP}.")
        chosen = class_keys[request_integer("class_id", len(class_keys))] if kind == CLASS else None
        queue.answer(person, product, kind, chosen)
        return page.state(person)

    @app.post("/person/<int:person>/undo")
    def undo(person: int) -> dict[str, Any]:
        """Take back the last answer."""
        page.check_person(person)
        queue.undo(person, _text("product"))
        return page.state(person)


def _text(key: str) -> str:
    """A string of the request, or status 400."""
    value = request_body().get(key)
    if not isinstance(value, str):
        flask.abort(400, f"{key} must be a text.")
    return value


def _png(data: bytes) -> flask.Response:
    return flask.Response(data, mimetype="image/png")
