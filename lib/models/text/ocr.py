"""The OCR engine: the words of a picture, by RapidOCR on ONNX Runtime

Its models come with the package, and none is ever downloaded. It runs on one thread, so that the
words of a picture depend on no number of threads. Three networks find the lines of a picture, turn
those that stand on their heads, and read them.
"""

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.config.inputs.ocr import ENGINE, Ocr
from lib.errors import UserError
from lib.utils.kept import kept

if TYPE_CHECKING:
    from rapidocr import RapidOCR

PACKAGES = "requirements-ocr.txt"
SMALLEST = 32  # pixels; the network that finds lines sees sides that are multiples of this


class Engine:
    """Reads pictures; `load_engine` makes it."""

    def __init__(self, engine: "RapidOCR", settings: Ocr) -> None:
        self._engine, self.settings = engine, settings

    def read(self, image: np.ndarray) -> str | None:
        """The words of a picture, uint8 [h, w, 3] RGB: line by line from the top; None for none.

        Raises what the engine raises where it fails.
        """
        found: Any = self._engine(np.ascontiguousarray(enlarge(image, self.settings)[..., ::-1]))
        text = " ".join(line.strip() for line in found.txts or ())
        return text.strip() or None


def enlarge(image: np.ndarray, settings: Ocr) -> np.ndarray:
    """A picture uint8 [h, w, 3] with sides between `min_side` and `max_side`, as far as both hold.

    The longer side goes first: a very long picture keeps a shorter side below `min_side`.
    """
    import cv2

    height, width = image.shape[:2]
    scale = max(1.0, settings.min_side / min(height, width))
    scale = min(scale, settings.max_side / max(height, width))
    if scale == 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(image, size, interpolation=interpolation)


def check_engine(settings: Ocr) -> None:
    """Raise UserError if the engine is not installed, or has no model of the language at hand."""
    _check_installed()
    _networks(settings.language)


@kept
def load_engine(settings: Ocr) -> Engine:
    """The engine with its networks. Raises UserError as `check_engine`."""
    import cv2

    _check_installed()
    from rapidocr import RapidOCR

    params: dict[str, Any] = {
        "Global.log_level": "critical",  # what cannot be read is counted here
        "Global.text_score": settings.min_confidence,
        "Global.use_preprocess_img": False,  # `enlarge` does it
        "Det.limit_side_len": SMALLEST,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    engine = RapidOCR(params=params | _networks(settings.language))
    word = np.full((64, 160, 3), 255, np.uint8)
    cv2.putText(word, "word", (20, 45), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0, 0, 0), 3)
    try:
        engine(word)  # loads the networks, which it would do at the first picture with words
    except ModuleNotFoundError as error:  # of Arabic
        raise UserError(f"ocr.language = {settings.language!r}: {error}") from None
    return Engine(engine, settings)


def _check_installed() -> None:
    command = f"{sys.executable} -m pip install -r {PACKAGES}"
    for package, wanted in ENGINE.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            raise UserError(
                f'text.columns = ["ocr"]: {package} is not installed; {command}'
            ) from None
        if found != wanted:
            raise UserError(
                f'text.columns = ["ocr"]: {package} {found} may read other words than {wanted};'
                f" {command}"
            )


def _networks(language: str) -> dict[str, Any]:
    """The parameters of the networks that find the lines of a picture, turn and read them.

    Raises UserError for a language that the engine does not know, and for a file that is missing
    or not what it should be: the engine would download it.
    """
    from rapidocr import ModelType, OCRVersion, RapidOCR
    from rapidocr.utils.typings import TaskType

    releases = {OCRVersion.PPOCRV6: ModelType.SMALL, OCRVersion.PPOCRV5: ModelType.MOBILE}
    known: list[str] = []
    for release, size in releases.items():
        languages = RapidOCR.list_supported_langs(TaskType.REC, release, size)
        if language in languages:
            finds = _file(TaskType.DET, OCRVersion.PPOCRV6, ModelType.SMALL, "en", language)
            turns = _file(TaskType.CLS, OCRVersion.PPOCRV4, ModelType.MOBILE, "ch", language)
            reads = _file(TaskType.REC, release, size, language, language)
            return {
                "Det.model_path": str(finds),
                "Cls.model_path": str(turns),
                "Rec.model_path": str(reads),
                "Rec.lang_type": language,
                "Rec.ocr_version": release,
                "Rec.model_type": size,
            }
        known += [name for name in languages if name not in known]
    raise UserError(f"ocr.language = {language!r}: the engine reads {', '.join(known)}")


def _file(task: Any, release: Any, size: Any, name: str, language: str) -> Path:
    """The file of a network that comes with the package, or that the user has put beside it."""
    import rapidocr
    from rapidocr import EngineType
    from rapidocr.inference_engine.base import FileInfo, InferSession

    model: Any = InferSession.get_model_url(
        FileInfo(EngineType.ONNXRUNTIME, release, task, name, size)
    )
    path = Path(rapidocr.__file__).parent / "models" / Path(model["model_dir"]).name
    if not path.is_file() or _sha256(path) != model["SHA256"]:
        raise UserError(
            f"ocr.language = {language!r}: its model is not at hand; download"
            f" {model['model_dir']} as {path}"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
