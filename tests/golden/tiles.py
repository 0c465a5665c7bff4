#!/usr/bin/env python3
"""Writes the JPEG 2000 tiles that `tests/src/slide_writer` puts into slides: `golden/tiles/{ycbcr,rgb}-{0..7}.j2k`.

    pip install pillow==13.0.0 numpy==2.4.6
    python3 tests/golden/tiles.py

Raw codestreams of 256 x 256 px, irreversible, three components; those called ycbcr hold Y, Cb and Cr as Aperio's compression 33003 does,
those called rgb hold red, green and blue (33005). Pillow encodes them with OpenJPEG; `versions.json` says with which.
The pictures are noise with round nuclei, as those of `slide_writer/texture.rs`, and no tissue. About 20 KB each.
"""

import json
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, features

PLACE = Path(__file__).resolve().parent / "tiles"
SIDE = 256
TILES = 8
# Times smaller than the pixels: about 20 KB.
RATE = 10
BACKGROUND, EOSIN, NUCLEUS = (np.array(rgb, np.float64) for rgb in ([240, 236, 241], [222, 148, 186], [92, 66, 140]))


def picture(seed):
    rng = np.random.default_rng(seed)
    density = np.zeros((SIDE, SIDE))
    at = np.arange(SIDE)
    for step, strength in ((64, 0.55), (16, 0.3), (4, 0.25)):
        points = np.pad(rng.random((SIDE // step, SIDE // step)), ((0, 1), (0, 1)), mode="wrap")
        cell, part = at // step, (at % step) / step
        above = points[cell][:, cell] * (1 - part) + points[cell][:, cell + 1] * part
        below = points[cell + 1][:, cell] * (1 - part) + points[cell + 1][:, cell + 1] * part
        density += strength * (above * (1 - part[:, None]) + below * part[:, None])
    nuclei = np.zeros((SIDE, SIDE))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for _ in range(SIDE * SIDE // 1800):
        x, y = rng.integers(0, SIDE, 2)
        radius, longer = 5 + 6 * rng.random(), 1 + 0.6 * rng.random()
        right, down = (columns - x + SIDE // 2) % SIDE - SIDE // 2, (rows - y + SIDE // 2) % SIDE - SIDE // 2
        nuclei = np.maximum(nuclei, np.clip(radius - np.hypot(right / longer, down) + 0.5, 0, 1) * 0.9)
    tissue = BACKGROUND + (EOSIN - BACKGROUND) * np.clip(density, 0, 1)[..., None]
    stained = tissue + (NUCLEUS - tissue) * nuclei[..., None]
    grain = (rng.random((SIDE, SIDE)) - 0.5) * 28
    return Image.fromarray(np.clip(np.round(stained + grain[..., None]), 0, 255).astype(np.uint8), "RGB")


def main():
    PLACE.mkdir(exist_ok=True)
    total = 0
    for number in range(TILES):
        rgb = picture(number)
        # The same three bytes a pixel, named RGB: no second change of colours, and no half-sized chroma.
        ycbcr = Image.frombytes("RGB", rgb.size, rgb.convert("YCbCr").tobytes())
        for kind, image in (("ycbcr", ycbcr), ("rgb", rgb)):
            path = PLACE / f"{kind}-{number}.j2k"
            image.save(path, "JPEG2000", no_jp2=True, irreversible=True, mct=0, quality_mode="rates", quality_layers=[RATE])
            data = path.read_bytes()
            assert data[:4] == b"\xff\x4f\xff\x51", f"{path.name} is no raw codestream"
            total += len(data)
    assert total <= 400 << 10, f"{total} bytes are too many to be kept"
    versions = {"pillow": PIL.__version__, "openjpeg": features.version("jpg_2000"), "numpy": np.__version__}
    (PLACE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
