"""Names of composed scenes in an index whose other images are the user's.

The names of the index are relative to the user's folder; those of scenes, which lie in the folder
of the experiment, begin with `scenes://`. So an index has the same bytes wherever both folders lie.
"""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lib.data.catalog import FileTable

SCENES = "scenes://"  # no name of a file has two slashes


def image_file(name: str, image_root: Path, scenes: Path) -> Path:
    """The absolute path of an image. image_root, scenes: the user's folder, and that of scenes."""
    if name.startswith(SCENES):
        return (scenes / name.removeprefix(SCENES)).absolute()
    return (image_root / name).absolute()


def with_scene_paths(files: FileTable, scenes: Path) -> FileTable:
    """The same files, scenes by their absolute paths: these need no folder before them."""
    path = f"{scenes.absolute()}/"
    names = pc.if_else(
        pc.starts_with(files.names, SCENES),
        pc.binary_join_element_wise(path, pc.utf8_slice_codeunits(files.names, len(SCENES)), ""),
        files.names,
    )
    return replace(files, names=pa.chunked_array(names))
