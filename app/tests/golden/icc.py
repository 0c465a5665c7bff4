# /// script
# requires-python = ">=3.10"
# dependencies = ["pillow==12.0.0"]
# ///
"""Profiles such as slides carry, and what Little CMS makes of colours in them: `icc/*.icc` and `icc/icc.json`.

Run in this folder: `uv run icc.py` (or `python3 icc.py` where Pillow with Little CMS is there). The test is in
`app/src/viewer/colour/icc.rs`. The profiles are made here, so nobody else's licence lies on them.
"""

import io
import json
import random
import struct
from pathlib import Path

import PIL
from PIL import Image, ImageCms, features

FOLDER = Path(__file__).parent / "icc"
WHITE = (0.9642, 1.0, 0.8249)
# Colours at D50, columns red, green, blue.
ADOBE = [(0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457)]
SCANNER = [(0.5412, 0.2811, 0.1419), (0.2868, 0.6702, 0.0430), (0.0263, 0.0940, 0.7046)]


def fixed(value):
    return struct.pack(">i", round(value * 65536))


def xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def curve(function, count=1024):
    values = [round(65535 * function(n / (count - 1))) for n in range(count)]
    return b"curv\0\0\0\0" + struct.pack(f">I{count}H", count, *values)


def description(text):
    ascii_text = text.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(ascii_text)) + ascii_text + b"\0" * (4 + 4 + 2 + 1 + 67)


def profile(kind, space, tags):
    """A version 2 profile for RGB."""
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02400000, kind, b"RGB ", space)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + b"".join(map(fixed, WHITE))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def of_matrix(name, columns, curves):
    tags = [(b"desc", description(name)), (b"wtpt", xyz(WHITE))]
    rows = list(zip(*columns))
    for channel, values, shape in zip(b"rgb", rows, curves):
        tags += [(bytes([channel]) + b"XYZ", xyz(values)), (bytes([channel]) + b"TRC", shape)]
    return profile(b"scnr", b"XYZ ", tags)


def lab(rgb, columns, exponent):
    """What a scanner with these primaries sees, as L*a*b*."""
    linear = [value**exponent for value in rgb]
    values = [sum(part * value for part, value in zip(row, linear)) / white for row, white in zip(columns, WHITE)]
    f = [v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in values]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def lut(columns, exponent, side=17):
    """A table of 16 bits from RGB to L*a*b*, in the encoding of version 2."""
    values = []
    for red in range(side):
        for green in range(side):
            for blue in range(side):
                l, a, b = lab([n / (side - 1) for n in (red, green, blue)], columns, exponent)
                values += [l * 652.8, (a + 128) * 256, (b + 128) * 256]
    head = b"mft2\0\0\0\0" + bytes([3, 3, side, 0])
    head += b"".join(fixed(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)) + struct.pack(">HH", 2, 2)
    ends = struct.pack(">6H", *[0, 65535] * 3)
    clut = struct.pack(f">{len(values)}H", *[min(65535, max(0, round(v))) for v in values])
    return head + ends + clut + ends


def of_table(name, tables):
    tags = [(b"desc", description(name)), (b"wtpt", xyz(WHITE))]
    return profile(b"scnr", b"Lab ", tags + tables)


def all_profiles():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Of different lengths, so that channels cannot be taken for each other.
    curves = [curve(lambda v: v**1.9), curve(lambda v: v**2.05, 512), curve(lambda v: v**2.2, 256)]
    by_intent = [(b"A2B0", lut(ADOBE, 1.8)), (b"A2B1", lut(SCANNER, 2.1))]
    return [
        ("srgb.icc", "sRGB built-in", True, srgb),
        ("wide.icc", "Wide primaries", False, of_matrix("Wide primaries", ADOBE, [gamma(2.2)] * 3)),
        ("scanner.icc", "Scanner, three curves", False, of_matrix("Scanner, three curves", SCANNER, curves)),
        ("table.icc", "Scanner, one table", False, of_table("Scanner, one table", [(b"A2B0", lut(SCANNER, 2.0))])),
        ("intents.icc", "Scanner, two tables", False, of_table("Scanner, two tables", by_intent)),
    ]


def colours():
    rng = random.Random(6)
    fixed_ones = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (240, 236, 241), (214, 150, 190), (120, 70, 140)]
    return fixed_ones + [tuple(rng.randint(40, 255) for _ in range(3)) for _ in range(60)]


def main():
    FOLDER.mkdir(exist_ok=True)
    target = ImageCms.createProfile("sRGB")
    image = Image.new("RGB", (len(colours()), 1))
    image.putdata(colours())
    written = []
    for file, name, is_srgb, data in all_profiles():
        (FOLDER / file).write_bytes(data)
        source = ImageCms.ImageCmsProfile(io.BytesIO(data))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, target, "RGB", "RGB", renderingIntent=intent)
        shown = ImageCms.applyTransform(image, transform)
        pairs = [{"slide": slide, "srgb": shown.getpixel((n, 0))} for n, slide in enumerate(colours())]
        written.append({"file": file, "description": name, "is_srgb": is_srgb, "colours": pairs})
    versions = {"pillow": PIL.__version__, "lcms2": features.version("littlecms2")}
    text = json.dumps({"versions": versions, "profiles": written}, indent=None)
    (FOLDER / "icc.json").write_text(text.replace('{"file"', '\n{"file"') + "\n")


if __name__ == "__main__":
    main()
