"""Images for the agent: upright, of a bounded size, and never a bomb."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from bot.work.files import images
from bot.work.files.images import (
    LONGEST_SIDE,
    MOST_BYTES,
    MOST_SCANS,
    NotAnImage,
    Picture,
    looks_like_image,
    picture_of,
)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(width: int, height: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, (width, height)), kind)


def noise(width: int, height: int) -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise((width, height), 90) for _ in range(3)])


def shaped(data: bytes) -> tuple[Picture, Image.Image]:
    picture = picture_of(io.BytesIO(data))
    return picture, Image.open(io.BytesIO(picture.data))


def png_of_header(width: int, height: int, body: bytes) -> bytes:
    """A PNG that claims a size, whatever it has."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "png"), ("JPEG", "jpeg"), ("GIF", "gif"), ("WEBP", "webp")])
def test_an_image_that_is_small_enough_stays_as_it_is(kind: str, mime: str) -> None:
    """F5"""
    data = plain(LONGEST_SIDE, 20, kind)
    assert looks_like_image(data[:12])
    assert picture_of(io.BytesIO(data)) == Picture(data, f"image/{mime}")


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "png"), ("JPEG", "jpeg"), ("GIF", "png"), ("WEBP", "png")])
def test_a_larger_one_is_scaled_down(kind: str, mime: str) -> None:
    """F5"""
    picture, image = shaped(plain(4000, 1000, kind))
    assert (image.size, picture.mime_type) == ((LONGEST_SIDE, 392), f"image/{mime}")


def test_one_with_too_many_bytes_is_encoded_anew() -> None:
    """F5: its side alone says nothing of its size."""
    data = encoded(noise(1500, 1500), "PNG")
    assert len(data) > MOST_BYTES
    picture, image = shaped(data)
    assert (image.size, picture.mime_type) == ((1500, 1500), "image/jpeg")
    assert len(picture.data) < MOST_BYTES


def test_one_that_lies_on_its_side_is_turned() -> None:
    """F5: models don't look at the mark that cameras set."""
    image = Image.new("RGB", (300, 100), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    _, turned = shaped(encoded(image, "JPEG", exif=exif))
    assert turned.size == (100, 300)
    large, exif[0x0112] = Image.new("RGB", (4000, 1000), "red"), 8
    _, turned = shaped(encoded(large, "JPEG", exif=exif))
    assert turned.size == (392, LONGEST_SIDE)
    assert turned.getexif().get(0x0112, 1) == 1


def test_of_an_animation_that_is_too_large_the_first_frame_is_left() -> None:
    """F5"""
    frames = [Image.new("RGB", (2000, 100), colour) for colour in ("red", "blue")]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    picture, image = shaped(animation)
    assert picture.mime_type == "image/png"
    assert getattr(image, "n_frames", 1) == 1
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    small = encoded(frames[0].resize((20, 20)), "GIF", save_all=True, append_images=[frames[1].resize((20, 20))])
    assert picture_of(io.BytesIO(small)).data == small


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_mode_of_a_png_can_be_scaled(mode: str) -> None:
    """F5"""
    picture, image = shaped(encoded(Image.new(mode, (3000, 100), 1), "PNG"))
    assert (picture.mime_type, image.size[0]) == ("image/png", LONGEST_SIDE)


def test_sixteen_bits_of_grey_keep_their_upper_half() -> None:
    """F5"""
    _, image = shaped(encoded(Image.new("I;16", (3000, 100), 0x8000), "PNG"))
    assert image.getpixel((5, 5)) == 0x80


def test_a_print_s_colours_are_those_of_a_screen() -> None:
    """F5: CMYK is of no use to a model."""
    _, image = shaped(encoded(Image.new("CMYK", (3000, 100), (0, 0, 0, 0)), "JPEG"))
    assert (image.mode, image.getpixel((5, 5))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize("size", [(10_000, 10_000), (8001, 8001), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_not_decoded(size: tuple[int, int]) -> None:
    """F5: the header is enough; 100 megapixels, and far more, from a few bytes."""
    bomb = png_of_header(*size, zlib.compress(bytes(1000)))
    with pytest.raises(NotAnImage, match=r"more than 64 megapixels|damaged"):
        picture_of(io.BytesIO(bomb))


def test_a_few_bytes_of_webp_do_not_become_a_gigabyte() -> None:
    """F5: its canvas may be larger than what is drawn on it."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    animation = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert animation[12:16] == b"VP8X"
    animation[24:30] = (4999).to_bytes(3, "little") * 2
    with pytest.raises(NotAnImage, match="a WebP of more than 16 megapixels"):
        picture_of(io.BytesIO(bytes(animation)))


def test_data_that_unpacks_to_more_than_the_header_says_is_of_no_use_to_anybody() -> None:
    """F5: a bomb in the data: 100 MB of it behind a header of four pixels."""
    picture, image = shaped(png_of_header(2, 2, zlib.compress(bytes(100_000_000), 9)))
    assert (image.size, len(picture.data) < 200_000) == ((2, 2), True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0 not a photograph",
        b"GIF89a",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        plain(2000, 2000)[:-200],
        plain(30, 30, "JPEG")[:-60],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"BM" + bytes(60),
    ],
)
def test_what_is_damaged_or_something_else_is_no_image(data: bytes) -> None:
    """F5: formats whose decoders start programs are not even tried."""
    with pytest.raises(NotAnImage):
        picture_of(io.BytesIO(data))


def test_a_jpeg_of_very_many_scans_is_not_decoded() -> None:
    """F5: each takes a few bytes of the file, and may take a look at every pixel."""
    progressive = encoded(noise(60, 60), "JPEG", progressive=True)
    assert picture_of(io.BytesIO(progressive)).data == progressive
    last = progressive.rindex(b"\xff\xda")
    scan, end = progressive[last:-2], progressive[-2:]
    # What hides a scan from a reader of markers hides it from the decoder, too: a marker without a length is none.
    for between in (b"", b"\xff\x01", b"\xff\xff\xd0"):
        with pytest.raises(NotAnImage, match="takes too long"):
            picture_of(io.BytesIO(progressive[:last] + (scan + between) * (MOST_SCANS + 1) + end))
    # Behind its end it has what it likes: telephones put films there.
    assert picture_of(io.BytesIO(progressive + scan * 200)).mime_type == "image/jpeg"


def test_nobody_waits_for_long_for_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """F5, O4: a decoder that hangs costs its own turn the image, and the others' theirs."""
    monkeypatch.setattr(images, "PATIENCE", 0.0)
    with images._one_at_a_time, pytest.raises(NotAnImage, match="another image"):
        picture_of(io.BytesIO(plain(20, 20)))
    assert picture_of(io.BytesIO(plain(20, 20))).data


def test_a_file_that_is_closed_meanwhile_is_no_image() -> None:
    """F3: a thread that a stop left behind ends like this."""
    file = io.BytesIO(plain(30, 30))
    file.close()
    with pytest.raises(NotAnImage):
        picture_of(file)
