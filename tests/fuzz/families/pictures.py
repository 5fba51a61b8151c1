"""Pictures of every container that is read: decoded to pixels, or named as undecodable."""

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib.data.decoding.decode import decode_image
from lib.data.decoding.undecodable import UndecodableError
from tests.fuzz.family import Family, PassedOver

RGB, GRAY = "RGB", "L"


def _pixels(mode: str, side: int = 24) -> Image.Image:
    values = np.random.default_rng(3).integers(0, 256, (side, side, 4), np.uint8)
    rough = Image.fromarray(values, "RGBA").resize((6, 6)).resize((side, side + 3))
    return rough.convert(mode)


def _saved(form: str, mode: str = RGB, **options: object) -> bytes:
    file = io.BytesIO()
    _pixels(mode).save(file, form, **options)
    return file.getvalue()


def _deep(suffix: str) -> bytes:
    values = np.random.default_rng(4).integers(0, 1 << 12, (9, 7, 3), np.uint16)
    return cv2.imencode(suffix, values)[1].tobytes()


def _exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def jpeg_seeds(folder: Path) -> list[bytes]:
    """Baseline, progressive, gray, CMYK, turned, subsampled, with restarts."""
    return [
        _saved("JPEG"),
        _saved("JPEG", progressive=True),
        _saved("JPEG", GRAY),
        _saved("JPEG", "CMYK"),
        _saved("JPEG", exif=_exif(6), subsampling=2),
        _saved("JPEG", restart_marker_blocks=1, quality=100),
    ]


def png_seeds(folder: Path) -> list[bytes]:
    """Of 1, 8 and 16 bits, with alpha, with a palette and a transparent color."""
    modes = [RGB, "RGBA", "LA", GRAY, "1", "P", "I;16"]
    transparent = _saved("PNG", RGB, transparency=(255, 0, 0))
    return [_saved("PNG", mode) for mode in modes] + [_deep(".png"), transparent]


def gif_seeds(folder: Path) -> list[bytes]:
    """Still, transparent and animated."""
    frames = [_pixels("P"), _pixels("P").rotate(90)]
    return [
        _saved("GIF", "P"),
        _saved("GIF", "P", transparency=3),
        _saved("GIF", "P", save_all=True, append_images=frames),
    ]


def webp_seeds(folder: Path) -> list[bytes]:
    """Lossy and lossless, with alpha, animated, turned."""
    return [
        _saved("WEBP"),
        _saved("WEBP", "RGBA", lossless=True),
        _saved("WEBP", "RGBA", quality=30),
        _saved("WEBP", save_all=True, append_images=[_pixels(RGB).rotate(90)]),
        _saved("WEBP", exif=_exif(3)),
    ]


def tiff_seeds(folder: Path) -> list[bytes]:
    """Of several compressions and depths."""
    kinds = ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    seeds = [_saved("TIFF", compression=kind) for kind in kinds]
    seeds += [_saved("TIFF", "1", compression=kind) for kind in ("group3", "group4")]
    return [
        *seeds,
        _saved("TIFF", "F"),
        _saved("TIFF", "I;16"),
        _saved("TIFF", "CMYK"),
        _deep(".tiff"),
    ]


def other_seeds(folder: Path) -> list[bytes]:
    """Bitmaps, AVIF, JPEG 2000, portable maps, icons."""
    seeds = [
        _saved("BMP"),
        _saved("BMP", "1"),
        _saved("BMP", "P"),
        _saved("PPM"),
        _saved("PPM", "1"),
    ]
    seeds += [
        _saved("PPM", GRAY),
        _saved("ICO", "RGBA"),
        _saved("JPEG2000"),
        _saved("JPEG2000", "RGBA"),
    ]
    return [*seeds, _saved("AVIF"), _saved("AVIF", "RGBA")]


def read(data: bytes, inside: Path) -> None:
    """Decode an image; a reason why it cannot be decoded is a documented outcome."""
    try:
        image = decode_image(data)
    except UndecodableError as error:
        if not str(error):
            raise AssertionError("no reason") from None
        raise PassedOver from None
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise AssertionError(f"{image.dtype} {image.shape}")


def ask_for_more(rng: random.Random, data: bytes) -> bytes:
    """Another size in the header of a JPEG, PNG, GIF or BMP: up to 65535x65535."""
    sides = [1, 8, 8, 8, 300, 300, 60000, 65535]
    sides += [13000] * (rng.random() < 0.02)
    width, height = rng.choice(sides), rng.choice(sides)
    if data[:2] == b"\xff\xd8":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return (
            data if at < 0 else data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
        )
    if data[:4] == b"\x89PNG":
        import zlib

        header = data[12:16] + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if data[:3] == b"GIF":
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    if data[:2] == b"BM":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    return data


def repeat_scans(rng: random.Random, data: bytes) -> bytes:
    """Repeat the last scan of a progressive JPEG: each costs a pass over all pixels."""
    at = data.rfind(b"\xff\xda")
    scan = data[at:-2] if rng.random() < 0.5 else data[at : at + 12]
    return data if at < 0 else data[:-2] + scan * rng.choice([20, 300, 3000]) + data[-2:]


def fix_checksums(rng: random.Random, data: bytes) -> bytes:
    """Right sums of the chunks of a PNG, so that what was changed before is looked at."""
    import zlib

    if data[:4] != b"\x89PNG":
        return data
    at, parts = 8, [data[:8]]
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        chunk = data[at + 4 : at + 8 + size]
        parts.append(data[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
        at += 12 + size
    return b"".join(parts) + data[at:]


def pack_a_bomb(rng: random.Random, data: bytes) -> bytes:
    """A PNG whose few bytes of pixels, or of text, unpack to many."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + sum_

    side = rng.choice([100, 100, 3000, 60000, 13000 if rng.random() < 0.1 else 64])
    depth, color = rng.choice([(8, 2), (16, 2), (16, 6), (8, 3), (1, 0), (8, 6)])
    header = struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, rng.randrange(2))
    zeros = zlib.compress(
        bytes(rng.choice([1000, 5000, 1 << 16, 1 << 20, 1 << 26 if rng.random() < 0.02 else 9]))
    )
    text = chunk(rng.choice([b"zTXt", b"iCCP", b"iTXt"]), b"a\0\0" + zeros)
    pixels = chunk(b"IDAT", zeros)
    body = rng.choice([pixels, text + pixels, text * 50 + pixels, chunk(b"PLTE", b"abc") + pixels])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def _family(
    name: str, make_seeds: Callable[[Path], list[bytes]], weight: float, *tokens: bytes
) -> Family:
    own = [ask_for_more]
    own += [repeat_scans] if name == "jpeg" else []
    own += [fix_checksums, fix_checksums, fix_checksums, pack_a_bomb] if name == "png" else []
    return Family(
        f"pictures-{name}",
        make_seeds,
        read,
        own=own,
        tokens=tokens,
        weight=weight,
        max_bytes=4 << 30,
    )


FAMILIES = [
    _family(
        "jpeg",
        jpeg_seeds,
        1.5,
        b"\xff\xd8\xff",
        b"\xff\xda",
        b"\xff\xc2",
        b"\xff\xd9",
        b"\xff\xd0",
        b"Exif\0\0",
    ),
    _family("png", png_seeds, 1.5, b"IDAT", b"PLTE", b"tRNS", b"acTL", b"eXIf", b"iCCP"),
    _family("gif", gif_seeds, 0.1, b"GIF89a", b"\x21\xf9\x04", b"\x2c"),
    _family("webp", webp_seeds, 7, b"RIFF", b"WEBP", b"VP8X", b"VP8L", b"ANMF", b"ALPH"),
    _family("tiff", tiff_seeds, 4, b"II*\0", b"MM\0*", b"II+\0"),
    _family(
        "other", other_seeds, 10, b"BM", b"P6 60000 60000 255 ", b"P1 1 1 ", b"ftypavif", b"jP  "
    ),
]
