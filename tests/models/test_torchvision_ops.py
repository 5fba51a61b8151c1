import importlib
import subprocess
import sys
import types

import pytest

from lib.models import torchvision_ops


def test_pretrainedmodels_imports_in_a_fresh_process():
    lines = (
        "from lib.models.torchvision_ops import ensure; ensure(); ensure()",
        "import torchvision, pretrainedmodels",
        "print(len(pretrainedmodels.model_names), torchvision.models.resnet18.__name__)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["45", "resnet18"]


def test_a_torchvision_that_works_is_left_alone(monkeypatch):
    healthy = types.ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", healthy)
    monkeypatch.setattr(torchvision_ops, "_declared", [])
    torchvision_ops.ensure()
    assert sys.modules["torchvision"] is healthy
    assert torchvision_ops._declared == []


def test_another_failure_is_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("a broken installation")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="broken installation"):
        torchvision_ops.ensure()
