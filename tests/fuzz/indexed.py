"""Read the images of an index that was made of a mutated file."""

import numpy as np

from lib.data.byte_reader import ByteReader
from lib.data.catalog import Catalog
from lib.data.decoding.decode import decode_image
from lib.data.decoding.undecodable import UndecodableError

MOST_READ = 8


def all_images_decode(indexed: Catalog) -> bool:
    """Whether the first images of an index decode; another error than UndecodableError passes."""
    reader = ByteReader(indexed)
    try:
        for image in reader.read_many(np.arange(min(MOST_READ, len(indexed.offset)))):
            try:
                decode_image(image)
            except UndecodableError:
                return False
    finally:
        reader.close()
    return True
