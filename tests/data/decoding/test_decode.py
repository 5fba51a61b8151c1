"""Pictures as people have them: what a shop page shows of them, or the reason why nothing."""

import contextlib
import io
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.decoding.decode import decode_image
from lib.data.decoding.undecodable import UndecodableError

RED, GREEN, BLUE, YELLOW, WHITE = (220, 30, 30), (30, 180, 40), (30, 50, 210), (230, 220, 40), 255
ORIENTATION, HIDDEN = 0x0112, (255, 0, 255)
# Where the corners of an upright image lie in the stored one: top left, top right, bottom left,
# bottom right. From the EXIF standard's table of orientations.
STORED = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "bdac", 7: "dbca", 8: "cadb"}
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"


def quarters(height: int = 32, width: int = 48, order: str = "abcd") -> Image.Image:
    """An image with a color in each quarter."""
    colors = [dict(zip("abcd", (RED, GREEN, BLUE, YELLOW), strict=True))[name] for name in order]
    image = np.empty((height, width, 3), np.uint8)
    for color, (top, left) in zip(colors, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        image[top * height // 2 :, left * width // 2 :] = color
        if (top, left) == (1, 0):
            image[: height // 2, width // 2 :] = colors[1]
    return Image.fromarray(image)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file of this kind, at its best quality."""
    sink = io.BytesIO()
    quality = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}
    image.save(sink, kind, **quality.get(kind, {}), **options)
    return sink.getvalue()


def corners(image: np.ndarray) -> np.ndarray:
    """int [4, 3]: the colors at an eighth from each corner."""
    height, width = image.shape[:2]
    rows, columns = (height // 8, -height // 8), (width // 8, -width // 8)
    return np.array([image[row, column] for row in rows for column in columns], int)


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header asks for any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def with_size(data: bytes, kind: str) -> bytes:
    """The file with a header that asks for 60000 x 60000 pixels."""
    changed = bytearray(data)
    if kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        changed[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    elif kind == "BMP":
        changed[18:26] = struct.pack("<ii", 60000, 60000)
    elif kind == "GIF":
        changed[6:10] = struct.pack("<HH", 60000, 60000)
    else:
        at = data.index(b"\x00\x01", 8)  # tags 256 and 257 of a little-endian TIFF
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 4)[:2], 8)
            changed[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 60000)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_every_kind_shows_the_same_pixels(kind):
    image = decode_image(encoded(quarters(), kind))
    assert (image.shape, image.dtype) == ((32, 48, 3), np.uint8)
    assert np.abs(corners(image) - [RED, GREEN, BLUE, YELLOW]).max() < 6


def test_a_jpeg_has_the_pixels_of_a_plain_decode():
    data = encoded(quarters(), "JPEG")
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert (decode_image(data) == expected).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_upright_whatever_its_container(kind, orientation):
    size = (32, 48) if orientation < 5 else (48, 32)
    stored = quarters(*size, STORED[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = decode_image(encoded(stored, kind, exif=exif))
    assert image.shape == (32, 48, 3)
    assert np.abs(corners(image) - [RED, GREEN, BLUE, YELLOW]).max() < 12


@pytest.mark.parametrize("deep", ["PNG", "TIFF"])
def test_a_16_bit_image_is_upright(deep):
    stored = np.asarray(quarters(48, 32, STORED[6]).convert("L")).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = decode_image(encoded(Image.fromarray(stored), deep, exif=exif))
    assert (image[..., 0] == np.asarray(quarters().convert("L"))).all()


def test_the_orientation_of_a_jpeg_is_found_behind_its_xmp():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(quarters(48, 32, STORED[6]), "JPEG", exif=exif)
    segment = b"\xff\xe1" + struct.pack(">H", len(XMP) + 2) + XMP
    assert np.abs(corners(decode_image(data[:2] + segment + data[2:]))[0] - RED).max() < 12


def test_damaged_metadata_do_not_hide_the_pixels():
    damaged = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    for kind in ("JPEG", "PNG", "WEBP"):
        image = decode_image(encoded(quarters(), kind, exif=damaged))
        assert np.abs(corners(image)[0] - RED).max() < 12


def transparent(mode: str) -> Image.Image:
    """A red square in an image whose other pixels are transparent, over a hidden color."""
    alpha = np.zeros((32, 48), np.uint8)
    alpha[8:24, 12:36] = 255
    colors = np.where(alpha[..., None] > 0, RED, HIDDEN).astype(np.uint8)
    image = Image.fromarray(np.dstack([colors, alpha]), "RGBA")
    return image if mode == "RGBA" else image.convert(mode)


def palette(**options: object) -> Image.Image:
    """The same, with a palette and one transparent entry of it."""
    image = Image.new("P", (48, 32), 1)
    image.putpalette([*RED, *HIDDEN])
    image.paste(0, (12, 8, 36, 24))
    return image


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 90)])
@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (transparent("RGBA"), "PNG", {}),
        (transparent("LA"), "PNG", {}),
        (transparent("RGBA"), "WEBP", {}),
        (transparent("RGBA"), "AVIF", {}),
        (transparent("RGBA"), "TIFF", {}),
        (transparent("RGBA"), "JPEG2000", {}),
        (palette(), "PNG", {"transparency": 1}),
        (palette(), "PNG", {"transparency": b"\xff\0"}),
        (palette(), "GIF", {"transparency": 1}),
        (transparent("RGBA").convert("RGB"), "PNG", {"transparency": HIDDEN}),
    ],
)
def test_transparent_pixels_show_the_background(image, kind, options, background):
    shown = decode_image(encoded(image, kind, **options), background)
    assert (corners(shown) == background).all()
    expected = [105] * 3 if image.mode == "LA" else RED
    assert np.abs(shown[16, 24].astype(int) - expected).max() < 20


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_half_transparent_pixels_are_mixed(value, alpha, background):
    pixel = np.array([[[value, value, value, alpha], [255] * 4]], np.uint8)
    expected = (value * alpha + background * (255 - alpha)) / 255
    for image in (pixel, pixel.astype(np.uint16) * 257):
        data = cv2.imencode(".png", image)[1].tobytes()
        assert abs(decode_image(data, (background,) * 3)[0, 0, 0] - expected) <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_images_use_the_range_of_their_own_values(bits, kind, channels):
    top = (1 << bits) - 1
    ramp = np.round(np.linspace(0, top, 16)).astype(np.uint16)
    colors = np.repeat(ramp[None, :, None], min(channels, 3), axis=2)
    if channels == 4:
        colors = np.dstack([colors, np.full_like(ramp[None], (1 << 16) - 1)])
    if channels >= 3:
        colors[..., 0] = 0  # OpenCV writes it as blue
    image = decode_image(cv2.imencode(kind, np.repeat(colors, 4, axis=0))[1].tobytes())
    expected = np.linspace(0, 255, 16)
    assert np.abs(image[0, :, 0] - expected).max() <= 1
    assert (image[..., 2] == (0 if channels >= 3 else image[..., 0])).all()


@pytest.mark.parametrize("cut", [2, 1, 20])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_read(cut, progressive):
    noise = np.random.default_rng(0).integers(0, 99, (32, 48, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)
    shown, whole = decode_image(data[:-cut]), decode_image(data)
    assert np.abs(shown[:24].astype(int) - whole[:24]).mean() < 8
    assert cut > 2 or (shown == whole).all()


@pytest.mark.parametrize("cut", [4, 12])
def test_a_png_without_its_end_marker_is_read(cut):
    assert (decode_image(encoded(quarters(), "PNG")[:-cut]) == np.asarray(quarters())).all()


def half(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"  <!DOCTYPE html><p>404", "an HTML page"),
        (b"<html><p>404", "an HTML page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
        (b"<?xml version='1.0'?><svg/>", "an SVG drawing"),
        (b"%PDF-1.4", "a PDF"),
        (b"\xff\xd8\xff\xe0 no more", "damaged"),
        (bytes(99), "not an image"),
        (half("JPEG"), "cut off: .* rows are missing"),
        (half("PNG"), "damaged"),
        (half("WEBP"), "damaged|not an image"),
        (half("BMP"), "damaged"),
    ],
)
def test_what_shows_no_picture_has_a_reason(data, reason):
    with pytest.raises(UndecodableError, match=reason):
        decode_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF"])
def test_a_header_that_asks_for_billions_of_pixels_costs_no_memory(kind):
    data = png_header(60000, 60000) if kind == "PNG" else with_size(encoded(quarters(), kind), kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UndecodableError, match="asks for more than 178,956,970 pixels"):
        decode_image(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("kind", [b"acTL", b"IDAT", b"eXIf"])
def test_a_long_chunk_in_a_short_file_costs_no_memory(kind):
    """Of 16 bits, which OpenCV decodes: it takes the memory before it looks for the bytes."""
    deep = cv2.imencode(".png", np.full((8, 8, 3), 5000, np.uint16))[1].tobytes()
    assert decode_image(deep).shape == (8, 8, 3)
    chunk = (0x7FFFFF00).to_bytes(4, "big") + kind + bytes(20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UndecodableError, match=r"ends within a chunk|Truncated File Read"):
        decode_image(deep[:33] + chunk + deep[33:])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("type_code", [0, 16])
def test_an_odd_tag_of_a_tiff_writes_nothing_to_the_terminal(capfd, type_code):
    """libtiff would write two lines for each, and a small file may have thousands."""
    odd_tag = {65000: 7}
    data = encoded(quarters(), "TIFF", compression="tiff_lzw", tiffinfo=odd_tag)
    entry = struct.pack("<H", 65000)
    at = data.index(entry) + len(entry)
    changed = data[:at] + struct.pack("<H", type_code) + data[at + 2 :]
    np.testing.assert_array_equal(decode_image(changed), decode_image(data))
    assert capfd.readouterr() == ("", "")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=64), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))
def test_damage_never_ends_in_another_error(noise, kind):
    """Any bytes, and any bytes in the middle of a file: pixels, or a reason."""
    data = encoded(quarters(8, 8), kind)
    for damaged in (noise, data[:40] + noise + data[40 + len(noise) :]):
        with contextlib.suppress(UndecodableError):
            image = decode_image(damaged)
            assert image.shape[2:] == (3,)
            assert image.dtype == np.uint8
