import os

from lib.runtime import gpu


def test_a_gpu_is_recognised_by_its_device_file(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.has_nvidia_gpu() == os.path.exists("/dev/nvidia0")
    monkeypatch.setattr(gpu.Path, "exists", lambda path: True)
    assert gpu.has_nvidia_gpu()


def test_a_gpu_hidden_by_the_environment_does_not_count(monkeypatch):
    monkeypatch.setattr(gpu.Path, "exists", lambda path: True)
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not gpu.has_nvidia_gpu()
