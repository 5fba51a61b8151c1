"""Makes `import torchvision` work beside a torch wheel that it was not built for.

The registry's ordinary torchvision next to a CPU-only torch stops at its first operator
(`operator torchvision::nms does not exist`), and pretrainedmodels imports torchvision. Its models
need none of these operators, so declaring the two that the import asks for is enough.
"""

import importlib
import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a Library that is dropped takes its operators along


def ensure() -> None:
    """Import torchvision, with declared stand-ins where its own operators are missing.

    Call before anything imports torchvision or pretrainedmodels. The import is tried first: where
    the operators work they stay as they are. The stand-ins raise NotImplementedError when run.
    """
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    if not _declared:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(operator + _SCHEMA)
        _declared.append(library)
    importlib.import_module("torchvision")
