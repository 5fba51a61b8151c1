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


def test_gpus_are_counted_by_their_files_and_by_the_environment(monkeypatch):
    monkeypatch.setattr(gpu.Path, "exists", lambda path: True)
    monkeypatch.setattr(gpu.Path, "glob", lambda path, pattern: iter("abcd"))
    for visible, count in (("", 0), ("2", 1), ("0,3", 2), ("0,1,2,3,4,5", 4)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpu.num_nvidia_gpus() == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpu.num_nvidia_gpus() == 4
