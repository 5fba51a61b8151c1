"""The pages and addresses of the service: pictures in, classes with their nearest neighbors out.

    POST /predict       one picture as the body, or several as a form; JSON
    GET /health         JSON: what is served
    GET /metrics        Prometheus' text
    GET /labelled/ID    the first picture of a labelled product, PNG
    GET /               a page to drop pictures on

It answers this machine alone, under its own names, and takes pictures from no foreign page.
"""

import time
from concurrent.futures import Future
from pathlib import PurePosixPath
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from lib.errors import UserError
from lib.labelling.images import ProductImages
from lib.labelling.server import ADDRESS, HEADERS, HOSTS
from lib.output.predictions import NO_IMAGE, NUM_NEAR
from lib.output.report.names import ClassNames
from lib.pipeline.predict_target import IMAGE_SUFFIXES
from lib.serving.batcher import Batcher, QueueFull, Row
from lib.serving.metrics import Metrics
from lib.serving.predictor import LoadedPredictor

MAX_BYTES = 32 << 20  # of a request
MAX_PICTURES = 32  # of a request
RETRY_SECONDS = 1
UNREADABLE = "not a picture that can be read"


class Service:
    """What the routes share. images: of labelled products; None where their files are gone."""

    def __init__(
        self, predictor: LoadedPredictor, batcher: Batcher, images: ProductImages | None
    ) -> None:
        self.predictor, self.batcher, self.images = predictor, batcher, images
        self.names = ClassNames(predictor.categories)
        self.path_of = dict(zip(self.names.keys, self.names.paths, strict=True))
        self.metrics = Metrics()

    def answer(self, name: str, row: Row | None) -> dict[str, Any]:
        """What is said of a picture: its row of predictions.parquet as JSON, None for no row."""
        if row is None or row["reason"] == NO_IMAGE:
            reason = UNREADABLE if row is None else NO_IMAGE
            return {"name": name, "classes": [], "accepted": False, "reason": reason, "nearest": []}
        ranks = range(1, 1 + sum(key.startswith("class_") for key in row))
        found = [(row[f"class_{i}"], row[f"prob_{i}"]) for i in ranks]
        classes = [
            {"class_id": str(key), "name": self.path_of[str(key)], "prob": round(prob, 6)}
            for key, prob in found
            if key is not None
        ]
        near = [(row[f"near_{i}"], row[f"near_cos_{i}"]) for i in range(1, NUM_NEAR + 1)]
        return {
            "name": name,
            "classes": classes,
            "accepted": row["accepted"],
            "reason": row["reason"],
            "nearest": [self._near(str(key), cos) for key, cos in near if key is not None],
        }

    def _near(self, product: str, cosine: float) -> dict[str, Any]:
        row = self.predictor.row_of(product)
        assert row is not None, "a nearest product is a labelled one"
        class_id = int(self.predictor.labelled.label[row])
        has_picture = self.images is not None and self.images.count(row) > 0
        return {
            "product": product,
            "class_id": self.names.keys[class_id],
            "name": self.names.paths[class_id],
            "cosine": round(cosine, 4),
            "picture": f"/labelled/{row}" if has_picture else None,
        }


def create_app(service: Service) -> flask.Flask:
    """The application."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.before_request(_start)
    app.register_error_handler(HTTPException, _error)

    @app.after_request
    def count(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        if flask.request.path == "/predict":
            service.metrics.add(response.status_code, time.monotonic() - flask.g.start)
        return response

    @app.get("/")
    def page() -> str:
        return flask.render_template(
            "serve.html", name=service.predictor.experiment.config.name, most=MAX_PICTURES
        )

    @app.post("/predict")
    def predict() -> tuple[flask.Response, int]:
        pictures = _pictures()
        # An empty file is no image of a catalog, and would stop those that come with it.
        full = [(data, _suffix(name)) for name, data in pictures if data]
        try:
            futures = iter(service.batcher.submit(full))
        except QueueFull:
            return _refused()
        rows = [_result(next(futures)) if data else None for _, data in pictures]
        answers = [service.answer(name, row) for (name, _), row in zip(pictures, rows, strict=True)]
        is_read = any(answer["classes"] for answer in answers)
        return flask.jsonify(predictions=answers), 200 if is_read else 422

    @app.get("/health")
    def health() -> flask.Response:
        config = service.predictor.experiment.config
        num_labelled = len(service.predictor.labelled.product_id)
        return flask.jsonify(
            status="ok",
            name=config.name,
            labelled_products=num_labelled,
            classes=len(service.names),
        )

    @app.get("/metrics")
    def metrics() -> flask.Response:
        batcher = service.batcher
        text = service.metrics.text(
            {"predict_pictures_waiting": batcher.num_waiting},
            {
                "predict_batches_total": batcher.num_batches,
                "predict_pictures_total": batcher.num_pictures,
            },
        )
        return flask.Response(text, mimetype="text/plain")

    @app.get("/labelled/<int:row>")
    def labelled(row: int) -> flask.Response:
        images = service.images
        if images is None or row >= len(service.predictor.labelled.product_id):
            flask.abort(404, "There is no such picture.")
        if not images.count(row):
            flask.abort(404, "This product has no picture.")
        return flask.Response(images.png(row, 0), mimetype="image/png")

    return app


def _start() -> None:
    """Answer 403 to a request for another host name, and to one from another page."""
    flask.g.start = time.monotonic()
    request = flask.request
    if request.host.rsplit(":", 1)[0].lower() not in HOSTS:
        flask.abort(403, f"This service answers only at http://{ADDRESS} and http://localhost.")
    origin = request.headers.get("Origin")  # programs send none
    if origin is not None and origin != f"http://{request.host}":
        flask.abort(403, "Requests from other pages are not accepted.")


def _pictures() -> list[tuple[str, bytes]]:
    """Name and bytes of every picture of the request; status 400 for none, 413 for too many."""
    request = flask.request
    if request.mimetype == "multipart/form-data":
        files = [file for _, file in request.files.items(multi=True)]
        pictures = [(file.filename or "picture", file.read()) for file in files]
    else:
        data = request.get_data(cache=False)
        pictures = [("picture", data)] if data else []
    if not pictures:
        flask.abort(400, "Send a picture as the body, or pictures as the files of a form.")
    if len(pictures) > MAX_PICTURES:
        flask.abort(413, f"{len(pictures)} pictures; at most {MAX_PICTURES} in a request.")
    return pictures


def _suffix(name: str) -> str:
    """The suffix of a file's name, if it is that of a picture: the bytes say what it is."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES else ".jpg"


def _result(future: "Future[Row]") -> Row | None:
    try:
        return future.result()
    except UserError:
        return None


def _refused() -> tuple[flask.Response, int]:
    response = flask.jsonify(error="Too many pictures wait; try again.")
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response, 503


def _error(error: HTTPException) -> tuple[flask.Response, int]:
    return flask.jsonify(error=error.description), error.code or 500
