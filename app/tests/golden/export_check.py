# /// script
# requires-python = ">=3.11"
# dependencies = ["geojson==3.2.0", "jsonschema==4.25.1", "pypdf==6.1.1"]
# ///
"""Looks at exports of reviews with other people's programs: JSON by its schema, GeoJSON by its validator, the PDF by pypdf, the table by
Python's csv, the report by an HTML parser, rows as lines of JSON.

    REINPATH_EXPORTS=DIR cargo test --workspace --test exports
    uv run app/tests/golden/export_check.py DIR

Ends with 1 where something is wrong, and says what.
"""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import geojson
import jsonschema
import pypdf

SCHEMA = Path(__file__).resolve().parents[3] / "assets" / "review-export.schema.json"
HEAD = re.compile(r"reinpath-log:\d+:[0-9a-f]{64}")
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Which elements there are, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def check_json(path: Path) -> str:
    document = json.loads(path.read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert HEAD.fullmatch(document["log"])
    answers = sum(len(question["answers"]) for case in document["cases"] for question in case["questions"])
    return f"{answers} answers, valid by the schema"


def check_geojson(path: Path) -> str:
    collection = geojson.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert feature.is_valid, feature.errors()
        assert feature["properties"]["objectType"] == "annotation"
        assert HEAD.fullmatch(feature["properties"]["reinpath"]["log"])
        assert all(isinstance(value, (int, float)) for value in feature["properties"]["measurements"].values())
    return f"{len(collection['features'])} valid features"


def check_pdf(path: Path) -> str:
    reader = pypdf.PdfReader(path, strict=True)
    text = "\n".join(page.extract_text() for page in reader.pages)
    for words in ("For research use only", "Observation", f"Page 1 of {len(reader.pages)}"):
        assert words in text, f"{words} is not in the PDF"
    assert HEAD.search(text.replace("\n", ""))
    images = sum(len(page.images) for page in reader.pages)
    assert images > 0, "the PDF has no picture"
    return f"{len(reader.pages)} pages, {images} pictures, {len(text)} characters"


def check_csv(path: Path) -> str:
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, strict=True))
    assert all(len(line) == len(lines[0]) for line in lines)
    assert all(not cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line)
    assert all(HEAD.fullmatch(line[-1]) for line in lines[1:])
    return f"{len(lines) - 1} sentences"


def check_html(path: Path) -> str:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert not page.open, f"not closed: {page.open}"
    assert "script" not in page.seen and not page.outside, page.outside
    return f"{len(page.seen)} kinds of elements, all closed, nothing from outside"


def check_rows(folder: Path) -> str:
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").split("\n") if line]
    pairs = [json.loads(line) for line in (folder / "preference.jsonl").read_text(encoding="utf-8").split("\n") if line]
    for row in rows + pairs:
        assert row["images"] and all((folder / image).is_file() for image in row["images"]), row["id"]
    for pair in pairs:
        assert pair["chosen"] != pair["rejected"], pair["id"]
    return f"{len(rows)} rows, {len(pairs)} pairs"


CHECKS = {
    "review.json": check_json,
    "review.geojson": check_geojson,
    "review.pdf": check_pdf,
    "review.csv": check_csv,
    "review.html": check_html,
    "review-rows": check_rows,
}


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = sorted(path for path in Path(sys.argv[1]).rglob("review*") if path.name in CHECKS)
    wrong = 0
    for path in found:
        try:
            print(f"{path}: {CHECKS[path.name](path)}")
        except Exception as error:  # every kind of fault is one of the file's
            wrong += 1
            print(f"{path}: WRONG, {type(error).__name__}: {str(error)[:500]}")
    if not found:
        print("there is no export in this folder", file=sys.stderr)
    return 1 if wrong or not found else 0


if __name__ == "__main__":
    sys.exit(main())
