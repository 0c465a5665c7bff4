"""Writes jpeg_tile_444.jpg, jpeg_tile_422.jpg and jpeg_tile_420.jpg: one 256 × 256 picture with the detail and the colours of stained tissue
(made here from a seeded generator), packed by libjpeg-turbo with each subsampling of colour. Tests put them into TIFF files as tiles.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install pillow
    /tmp/venv/bin/python app/tests/golden/jpeg_tiles.py app/tests/golden

Written with Pillow 13.0.0.
"""
import math
import random
import sys
from pathlib import Path

from PIL import Image

SIDE = 256
random.seed(6)
NUCLEI = [(random.random() * SIDE, random.random() * SIDE, 4 + 7 * random.random()) for _ in range(60)]


def pixel(x, y):
    wave = 0.5 + 0.25 * (math.sin(x / 9 + math.sin(y / 17)) + math.sin(y / 7 + x / 31))
    colour = [236 - 30 * wave, 190 - 60 * wave, 214 - 25 * wave]
    for cx, cy, r in NUCLEI:
        if (x - cx) ** 2 + (y - cy) ** 2 < r * r:
            colour = [96 + 20 * wave, 62 + 20 * wave, 140 + 15 * wave]
    return tuple(min(255, max(0, round(c + random.gauss(0, 4)))) for c in colour)


image = Image.new("RGB", (SIDE, SIDE))
image.putdata([pixel(x, y) for y in range(SIDE) for x in range(SIDE)])
folder = Path(sys.argv[1])
for name, subsampling in [("444", "4:4:4"), ("422", "4:2:2"), ("420", "4:2:0")]:
    image.save(folder / f"jpeg_tile_{name}.jpg", quality=85, subsampling=subsampling)
