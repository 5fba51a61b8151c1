from pathlib import Path

import numpy as np
import pyarrow as pa

from lib.data.catalog import FileTable
from lib.data.openimages.scene_names import SCENES, image_file, with_scene_paths

NAMES = [f"{SCENES}train/a.jpg", "b/c.jpg", "scenes/d.jpg"]


def test_scenes_lie_in_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, scenes = Path("user"), Path("work/scenes")
    expected = [
        tmp_path / "work/scenes/train/a.jpg",
        tmp_path / "user/b/c.jpg",
        tmp_path / "user/scenes/d.jpg",
    ]
    assert [image_file(name, root, scenes) for name in NAMES] == expected
    names = pa.chunked_array([pa.array(NAMES[:2]), pa.array(NAMES[2:])])
    files = with_scene_paths(FileTable(np.arange(3), names, "image"), scenes)
    assert [files.path(root, file).absolute() for file in range(3)] == expected
