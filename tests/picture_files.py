"""One picture as a file of every format that is read."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]


def in_format(picture: Picture | Image.Image, kind: str, **options: Any) -> bytes:
    """As Pillow writes it."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def with_alpha(picture: NDArray[Any]) -> NDArray[Any]:
    """With a fourth channel that says opaque everywhere."""
    return np.dstack([picture, np.full(picture.shape[:2], np.iinfo(picture.dtype).max, picture.dtype)])


def deep(picture: Picture, bits: int) -> NDArray[np.uint16]:
    """The same light in more bits; the lower ones are neither all 0 nor all 1."""
    wide = picture.astype(np.uint16)
    return np.asarray(wide << (bits - 8) | wide >> (16 - bits), np.uint16)


def png(levels: NDArray[Any], chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG of 8 or 16 bits, with chunks before its pixels."""
    height, width, channels = levels.shape
    kind = levels.dtype.newbyteorder(">")
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", width, height, 8 * kind.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    written = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def tiff(
    levels: NDArray[Any],
    *,
    planar: bool = False,
    tile_px: int = 0,
    deflated: bool = False,
    predicted: bool = False,
    big_endian: bool = False,
    tags: dict[int, int] | None = None,
) -> bytes:
    """A TIFF of 8 or 16 bits, in strips of 16 rows or in tiles (TIFF 6.0)."""
    order = ">" if big_endian else "<"
    height, width, channels = levels.shape
    planes = [levels[..., n : n + 1] for n in range(channels)] if planar else [levels]
    blocks = []
    for plane in planes:
        for top in range(0, height, tile_px or 16):
            for left in range(0, width, tile_px or width):
                block = plane[top : top + (tile_px or 16), left : left + (tile_px or width)]
                if tile_px:
                    missing = [(0, tile_px - side) for side in block.shape[:2]]
                    block = np.pad(block, (*missing, (0, 0)))
                blocks.append(block)
    if predicted:
        blocks = [np.concatenate([block[:, :1], np.diff(block, axis=1)], axis=1) for block in blocks]
    packed = [block.astype(levels.dtype.newbyteorder(order)).tobytes() for block in blocks]
    if deflated:
        packed = [zlib.compress(block) for block in packed]
    starts = np.cumsum([8] + [len(block) for block in packed]).tolist()
    fields: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [8 * levels.dtype.itemsize] * channels, 259: [8 if deflated else 1],
        262: [2 if channels > 2 else 1], 277: [channels], 284: [2 if planar else 1], 317: [2 if predicted else 1],
        **({322: [tile_px], 323: [tile_px]} if tile_px else {278: [16]}), **({338: [2]} if channels == 4 else {}),
        324 if tile_px else 273: starts[:-1], 325 if tile_px else 279: [len(block) for block in packed],
        **{tag: [value] for tag, value in (tags or {}).items()},
    }  # fmt: skip
    body = b"".join(packed) + b"\0" * (starts[-1] % 2)
    at = 8 + len(body)
    directory, behind = struct.pack(order + "H", len(fields)), b""
    for tag, values in sorted(fields.items()):
        is_short = max(values) < 1 << 16 and tag not in (273, 324, 279, 325)
        data = struct.pack(f"{order}{len(values)}{'H' if is_short else 'I'}", *values)
        if len(data) > 4:
            place = at + 2 + 12 * len(fields) + 4 + len(behind)
            data, behind = struct.pack(order + "I", place), behind + data
        directory += struct.pack(order + "HHI", tag, 3 if is_short else 4, len(values)) + data.ljust(4, b"\0")
    start = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", at)
    return start + body + directory + bytes(4) + behind


def netpbm(levels: NDArray[Any], white: int = 255, *, in_letters: bool = False) -> bytes:
    """A PPM, or a PGM of one channel."""
    height, width, channels = levels.shape
    kind = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[channels, in_letters]
    head = f"P{kind}\n# drawn\n{width} {height}\n{white}\n".encode()
    if in_letters:
        return head + "\n".join(" ".join(map(str, row.ravel())) for row in levels).encode() + b"\n"
    return head + levels.astype(">u2" if white > 255 else np.uint8).tobytes()


def cmyk_jpeg(picture: Picture, *, inverted: bool = True, as_ycck: bool = False) -> bytes:
    """A JPEG of inks: as Adobe's programs write it, or without their marker and 0 for no ink."""
    light = picture.max(axis=2, keepdims=True)
    inks = np.dstack([picture.astype(np.uint16) * 255 // np.maximum(light, 1), light]).astype(np.uint8)
    if as_ycck:  # which TurboJPEG makes of CMYK
        return bytes(simplejpeg.encode_jpeg(inks, 98, "CMYK", "444"))
    # Pillow inverts what it writes.
    data = in_format(Image.frombytes("CMYK", picture.shape[1::-1], (255 - inks).tobytes()), "JPEG", quality=98,
                     subsampling=0)  # fmt: skip
    if inverted:
        return data
    plain = Image.frombytes("CMYK", picture.shape[1::-1], inks.tobytes())
    data = in_format(plain, "JPEG", quality=98, subsampling=0)
    return without_segment(data, b"\xff\xee")


def dicom(
    pixels: NDArray[Any] | bytes, size: tuple[int, int] | None = None, *, syntax: str = "1.2.840.10008.1.2.1",
    **elements: Any,
) -> bytes:  # fmt: skip
    """An ophthalmic photograph; `elements` by their DICOM keyword, in addition or instead."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.77.1.5.1")  # ophthalmic photography, 8 bit
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["drsearch"])
    meta.TransferSyntaxUID = UID(syntax)
    photograph = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    photograph.Modality = "OP"
    if isinstance(pixels, bytes):
        assert size is not None
        bits, (photograph.Rows, photograph.Columns), photograph.SamplesPerPixel = 8, size, 3
        photograph.PhotometricInterpretation, data = "YBR_FULL_422", encapsulate([pixels])
    else:
        bits, (photograph.Rows, photograph.Columns, channels) = 8 * pixels.dtype.itemsize, pixels.shape
        photograph.SamplesPerPixel, photograph.PhotometricInterpretation = channels, "RGB"
        data = pixels.tobytes()
    if photograph.SamplesPerPixel == 3:
        photograph.PlanarConfiguration = 0
    photograph.BitsAllocated = photograph.BitsStored = bits
    photograph.PixelRepresentation = 0
    for keyword, value in elements.items():
        setattr(photograph, keyword, value)
    photograph.HighBit = elements.get("HighBit", photograph.BitsStored - 1)
    photograph.PixelData = data + b"\0" * (len(data) % 2)
    photograph["PixelData"].VR = "OB" if bits == 8 else "OW"
    photograph["PixelData"].is_undefined_length = isinstance(pixels, bytes)
    file = io.BytesIO()
    pydicom.dcmwrite(file, photograph, enforce_file_format=True)
    return file.getvalue()


LOSSLESS: dict[str, Callable[[Picture], bytes]] = {
    "PNG": lambda eye: in_format(eye, "PNG"),
    "PNG, opaque alpha": lambda eye: in_format(with_alpha(eye), "PNG"),
    "PNG, 16 bits": lambda eye: png(deep(eye, 16)),
    "PNG, 16 bits, alpha": lambda eye: png(with_alpha(deep(eye, 16))),
    "PNG, 8 bits widened by zeros": lambda eye: png(eye.astype(np.uint16) << 8),
    "PNG, 12 bits": lambda eye: png(deep(eye, 12)),
    "PNG, 12 bits, as sBIT says": lambda eye: png(deep(eye, 12), [(b"sBIT", bytes([12, 12, 12]))]),
    "PNG, 12 bits at the top, as sBIT says": lambda eye: png(deep(eye, 12) << 4, [(b"sBIT", bytes([12, 12, 12]))]),
    "PNG, 14 bits": lambda eye: png(deep(eye, 14)),
    "PNG, 8 bits in 16": lambda eye: png(eye.astype(np.uint16)),
    "TIFF": lambda eye: in_format(eye, "TIFF"),
    "BigTIFF": lambda eye: in_format(eye, "TIFF", big_tiff=True),
    "TIFF, LZW": lambda eye: in_format(eye, "TIFF", compression="tiff_lzw"),
    "TIFF, PackBits": lambda eye: in_format(eye, "TIFF", compression="packbits"),
    "TIFF, deflate": lambda eye: tiff(eye, deflated=True, predicted=True),
    "TIFF, tiles": lambda eye: tiff(eye, tile_px=64),
    "TIFF, planes": lambda eye: tiff(eye, planar=True),
    "TIFF, planes of tiles, deflate": lambda eye: tiff(eye, planar=True, tile_px=32, deflated=True),
    "TIFF, big endian": lambda eye: tiff(eye, big_endian=True),
    "TIFF, alpha": lambda eye: tiff(with_alpha(eye)),
    "TIFF, 16 bits": lambda eye: tiff(deep(eye, 16)),
    "TIFF, 16 bits, big endian": lambda eye: tiff(deep(eye, 16), big_endian=True),
    "TIFF, 16 bits, tiles": lambda eye: tiff(deep(eye, 16), tile_px=64),
    "TIFF, 16 bits, planes": lambda eye: tiff(deep(eye, 16), planar=True),
    "TIFF, 16 bits, planes, big endian": lambda eye: tiff(deep(eye, 16), planar=True, big_endian=True),
    "TIFF, 16 bits, planes of tiles, deflate": lambda eye: tiff(deep(eye, 16), planar=True, tile_px=32, deflated=True),
    "TIFF, 16 bits, deflate": lambda eye: tiff(deep(eye, 16), deflated=True, predicted=True),
    "TIFF, 16 bits, deflate, big endian": lambda eye: tiff(
        deep(eye, 16), deflated=True, predicted=True, big_endian=True
    ),
    "TIFF, 16 bits, alpha": lambda eye: tiff(with_alpha(deep(eye, 16))),
    "TIFF, 16 bits, colours on black": lambda eye: tiff(with_alpha(deep(eye, 16)), tags={338: 1}),
    "TIFF, 12 bits": lambda eye: tiff(deep(eye, 12)),
    "TIFF, 12 bits, as a tag says": lambda eye: tiff(deep(eye, 12), tags={281: 4095}),
    "TIFF, 14 bits, alpha": lambda eye: tiff(with_alpha(deep(eye, 14))),
    "BMP": lambda eye: in_format(eye, "BMP"),
    "PPM": netpbm,
    "PPM in letters": lambda eye: netpbm(eye, in_letters=True),
    "PPM, 16 bits": lambda eye: netpbm(deep(eye, 16), 0xFFFF),
    "PPM, 12 bits": lambda eye: netpbm(deep(eye, 12), 4095),
    "PPM, 12 bits, said to be 16": lambda eye: netpbm(deep(eye, 12), 0xFFFF),
    "PPM in letters, 14 bits": lambda eye: netpbm(deep(eye, 14), 16383, in_letters=True),
    "WebP, lossless": lambda eye: in_format(eye, "WEBP", lossless=True),
    "WebP, lossless, alpha": lambda eye: in_format(with_alpha(eye), "WEBP", lossless=True, exact=True),
    "DICOM": dicom,
    "DICOM, implicit": lambda eye: dicom(eye, syntax="1.2.840.10008.1.2"),
    "DICOM, planes": lambda eye: dicom(np.ascontiguousarray(eye.transpose(2, 0, 1)).reshape(eye.shape),
                                       PlanarConfiguration=1),
    "DICOM, 12 of 16 bits": lambda eye: dicom(deep(eye, 12), BitsStored=12),
    "DICOM, the upper 12 of 16 bits": lambda eye: dicom(deep(eye, 12) << 4, BitsStored=12, HighBit=15),
    "DICOM, 12 bits, said to be 16": lambda eye: dicom(deep(eye, 12)),
}  # fmt: skip
"""Ways to write a picture that keep every level of it."""


def _ybr(picture: Picture) -> Picture:
    """As DICOM has YBR_FULL: Cb before Cr."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]], np.uint8)


def _ybr_422(picture: Picture) -> bytes:
    ybr = _ybr(picture)
    pairs = np.concatenate([ybr[:, ::2, :1], ybr[:, 1::2, :1], ybr[:, ::2, 1:]], axis=2)
    return dicom(pairs, Columns=picture.shape[1], SamplesPerPixel=3, PlanarConfiguration=0,
                 PhotometricInterpretation="YBR_FULL_422")  # fmt: skip


def rgb_jpeg(picture: Picture) -> bytes:
    """A JPEG whose colours are stored as RGB, and that does not say so."""
    data = without_segment(in_format(picture, "JPEG", quality=95, keep_rgb=True), b"\xff\xee")
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    changed = bytearray(data)
    changed[frame + 10 : frame + 19 : 3] = changed[scan + 5 : scan + 11 : 2] = b"\1\2\3"
    return bytes(changed)


def without_segment(jpeg: bytes, marker: bytes) -> bytes:
    """A JPEG without its first segment of a kind."""
    at = jpeg.index(marker)
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


LOSSY: dict[str, Callable[[Picture], bytes]] = {
    "JPEG": lambda eye: in_format(eye, "JPEG", quality=95),
    "JPEG, progressive": lambda eye: in_format(eye, "JPEG", quality=95, progressive=True),
    "JPEG, CMYK as Adobe writes it": cmyk_jpeg,
    "JPEG, CMYK": lambda eye: cmyk_jpeg(eye, inverted=False),
    "JPEG, YCCK": lambda eye: cmyk_jpeg(eye, as_ycck=True),
    "WebP": lambda eye: in_format(eye, "WEBP", quality=95),
    "WebP, alpha": lambda eye: in_format(with_alpha(eye), "WEBP", quality=95),
    "TIFF, CMYK": lambda eye: in_format(Image.fromarray(eye).convert("CMYK"), "TIFF"),
    "TIFF, JPEG": lambda eye: in_format(eye, "TIFF", compression="jpeg", quality=95),
    "DICOM, JPEG": lambda eye: dicom(in_format(eye, "JPEG", quality=95), eye.shape[:2],
                                     syntax="1.2.840.10008.1.2.4.50"),
    "DICOM, JPEG, RGB": lambda eye: dicom(rgb_jpeg(eye), eye.shape[:2],
                                          syntax="1.2.840.10008.1.2.4.50", PhotometricInterpretation="RGB"),
    "DICOM, YBR_FULL": lambda eye: dicom(_ybr(eye), PhotometricInterpretation="YBR_FULL"),
    "DICOM, YBR_FULL_422": _ybr_422,
}  # fmt: skip
"""Ways to write a picture that change levels a little."""
