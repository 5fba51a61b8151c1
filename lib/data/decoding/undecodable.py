"""Why the bytes of an image cannot be decoded: an exception, and what they are instead."""

HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
DOCUMENTS = {
    b"<svg": "an SVG drawing, not pixels",
    b"<!doctype html": "an HTML page, not an image",
    b"<html": "an HTML page, not an image",
    b"<?xml": "an XML document, not an image",
    b"%pdf": "a PDF document, not an image",
    b"pk\x03\x04": "a ZIP archive, not an image",
}
HEAD = 256  # bytes that tell what a file is


class UndecodableError(Exception):
    """An image that cannot be decoded. Its text is the reason, for a list or a message."""


def foreign_kind(data: bytes) -> str:
    """What bytes are that no decoder knows, as a reason."""
    if not data:
        return "empty"
    head = data[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if data[4:8] == b"ftyp" and any(brand in data[8:64] for brand in HEIF_BRANDS):
        return "HEIC, which is not read; save it as JPEG"
    if b"<svg" in head:
        return DOCUMENTS[b"<svg"]
    kinds = (reason for start, reason in DOCUMENTS.items() if head.startswith(start))
    return next(kinds, "not an image")
