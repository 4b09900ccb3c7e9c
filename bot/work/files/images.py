"""Makes of an image what a model takes: upright, of a size that is of use to it, and never a bomb.

Everything here blocks and belongs in a worker thread. Pillow looks only at the formats that are named here, and decodes
nothing before the header's size is known. The state is the lock that lets in one image at a time.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
MOST_PIXELS = 64_000_000
MOST_PIXELS_WEBP = MOST_PIXELS // 4
"""Each takes sixteen bytes there: libwebp keeps three copies, and a file of 300 bytes may claim all that there is."""

LONGEST_SIDE = 1568
"""Pixels; models scale down what is larger, so more only costs."""

MOST_BYTES = 4 * 1024 * 1024
"""Of an image as it is sent, before base64."""

MOST_SCANS = 100
"""Of a JPEG; cameras and programs write about ten, and each may touch every pixel for a few bytes in the file."""

PATIENCE = 20.0
"""Seconds that an image waits for another one to be decoded."""

# Decoded, an image may take 256 MB. A lock of threads, not of tasks: a task that is stopped leaves its thread behind.
_one_at_a_time = threading.Lock()

_MARKER = re.compile(rb"\xff+[^\x00\x01\xff\xd0-\xd7]", re.DOTALL)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ORIENTATION = 0x0112
_UPRIGHT = 1
_QUALITY = 85

# Process-wide, and nobody else uses Pillow here. Beyond this size its warning counts as an error: it comes before
# anything is decoded, while the error of its own comes at twice the size only.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class NotAnImage(ValueError):
    """It can't be sent as an image; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as it is sent: ``mime_type`` is what the bytes are, whatever the file was called."""

    data: bytes
    mime_type: str


def looks_like_image(head: bytes) -> bool:
    """Return whether a file with these first 12 bytes is of one of `FORMATS`."""
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"))
        or (head[:4], head[8:12]) == (b"RIFF", b"WEBP")
    )  # fmt: skip


def picture_of(file: BinaryIO) -> Picture:
    """Return the image as it is if it is upright and small enough, else scaled down and encoded anew.

    An animation that has to be scaled down is its first frame.

    Raises:
        NotAnImage: it is damaged, larger than `MOST_PIXELS`, of another format, or takes too long.
    """
    # Bounded: what somebody's image does to a decoder is nothing that others' turns may wait for.
    if not _one_at_a_time.acquire(timeout=PATIENCE):
        raise NotAnImage("another image takes too long to decode")
    try:
        _refuse_slow(file)
        with Image.open(file, formats=FORMATS) as image:
            return _fitted(image, file)
    except NotAnImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise NotAnImage(f"it has more than {MOST_PIXELS // 1_000_000} megapixels") from exc
    except UnidentifiedImageError as exc:
        raise NotAnImage("it is no image that can be read") from exc
    except MemoryError as exc:
        raise NotAnImage("it takes too much memory") from exc
    # Pillow's decoders raise whatever a damaged file leads them to: OSError, SyntaxError, ValueError, struct.error.
    except Exception as exc:
        raise NotAnImage("it is damaged") from exc
    finally:
        _one_at_a_time.release()


def _refuse_slow(file: BinaryIO) -> None:
    """Go to the start of a file, unless it is one that is made to keep a decoder busy."""
    file.seek(0)
    if _scans(file.read()) > MOST_SCANS:
        raise NotAnImage("it takes too long to decode")
    file.seek(0)


def _scans(data: bytes) -> int:
    """Return how many scans a JPEG has; 0: it is none. Source: ITU-T T.81, annex B."""
    if not data.startswith(b"\xff\xd8\xff"):
        return 0
    scans, at = 0, 2
    while found := _MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE:  # what telephones put behind it is not looked at
            break
        # Behind a marker stands how long its segment is; in the data of a scan, the next marker is looked for.
        scans += marker == _START_OF_SCAN
        at += int.from_bytes(data[at : at + 2])
    return scans


def _fitted(image: Image.Image, file: BinaryIO) -> Picture:
    if image.format == "WEBP" and image.width * image.height > MOST_PIXELS_WEBP:
        raise NotAnImage(f"it is a WebP of more than {MOST_PIXELS_WEBP // 1_000_000} megapixels")
    # What telephones write is MPO to Pillow, and to everybody else a JPEG with more behind it.
    photograph = image.format in ("JPEG", "MPO")
    upright = image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
    size = file.seek(0, io.SEEK_END)
    if upright and size <= MOST_BYTES and max(image.size) <= LONGEST_SIDE:
        image.load()  # what is damaged would cost the turn: providers refuse the whole prompt
        file.seek(0)
        return Picture(file.read(), "image/jpeg" if photograph else Image.MIME[image.format or ""])
    # Not loaded before: a JPEG is then decoded at about the size that is needed, which spares most of the memory.
    small = _scalable(image)
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    # Last, on the small one: turning needs a second copy.
    return _encoded(ImageOps.exif_transpose(small), lossless=not photograph)


def _scalable(image: Image.Image) -> Image.Image:
    """Return the image in a mode that scales well and that every encoder takes."""
    if image.mode in ("RGB", "RGBA", "L"):
        return image
    if image.mode.startswith("I"):  # 16 bits of grey, of which a conversion would keep the lower half
        grey = image if image.mode == "I;16" else image.convert("I")  # of four bytes each, twice
        return grey.point(lambda value: value / 256).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _encoded(image: Image.Image, *, lossless: bool) -> Picture:
    if lossless:  # screenshots and drawings, whose letters JPEG would blur
        data = _written(image, "PNG", optimize=False)
        if len(data) <= MOST_BYTES:
            return Picture(data, "image/png")
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    # With at most 2.5 million pixels this is far below the bound, even for noise.
    return Picture(_written(image, "JPEG", quality=_QUALITY), "image/jpeg")


def _written(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
