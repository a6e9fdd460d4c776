"""Time, rate and peak memory of reading pairs: the passes of `allyouneed train` over its text.

    python benchmarks/reading.py [--pairs 10000 100000 1000000] [--formats tsv tmx ...] [--text TSV] [--out FILE]

For each format and size, a file is written to a temporary folder (10 million pairs of TMX take 3 GB) and read by a new
process, which reports its peak memory. The pairs are those of TSV, repeated, or made up. Revisions are compared by
running the script in both source trees in alternation.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import platform
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from itertools import chain, islice, pairwise, repeat
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.data.files.pair_copy import copied

LANGUAGES = "de", "en"
UNIT = (
    '<tu><prop type="n">{}</prop><tuv xml:lang="de"><seg>{}</seg></tuv><tuv xml:lang="en-US"><seg>{}</seg></tuv>'
    '<tuv xml:lang="fr"><seg>-</seg></tuv></tu>\n'
)
XLIFF_UNIT = '<trans-unit id="{}"><source>{}</source><target state="final">{}</target></trans-unit>\n'
Pairs = Iterator[tuple[str, str]]


def main() -> None:
    """Print a Markdown table with a row for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", default=list(WRITERS), choices=WRITERS)
    parser.add_argument("--text", type=Path, help="TSV file with German and English; by default, pairs are made up")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    parser.add_argument("--read", type=Path, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(measured(arguments.read)))
        return
    text = made_up() if arguments.text is None else split(arguments.text)
    lines = [
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {date.today()}",
        "",
        "| format | pairs | file, MB | first pass, s | reading, s | pairs/s | next passes, s | peak memory, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(lines))
    for name in arguments.formats:
        for count in arguments.pairs:
            lines.append(row(name, count, text))
            print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(name: str, count: int, text: list[tuple[str, str]]) -> str:
    """Write a file, read it in a new process, and return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        paths = WRITERS[name](Path(folder), islice(chain.from_iterable(repeat(text)), count))
        size = sum(path.stat().st_size for path in paths) / 1e6
        command = [sys.executable, __file__, "--read", *map(str, paths)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if found["pairs"] != count:
            raise SystemExit(f"{name}: {found['pairs']:,} pairs instead of {count:,}")
    rate = count / found["reading"]
    times = f"{found['first']:.2f} | {found['reading']:.2f} | {rate:,.0f} | {found['next']:.2f}"
    return f"| {name} | {count:,} | {size:,.1f} | {times} | {found['memory']:,.0f} |"


def measured(paths: list[Path]) -> dict[str, float]:
    """Read the pairs of a corpus; return CPU seconds, and the peak memory of the process in MB.

    The first pass of `allyouneed train` counts the pairs and copies those that take long to parse; the next passes
    read the copy, or plain text itself.
    """
    columns = columns_for(paths, (1, 2), LANGUAGES)
    times = [time.process_time()]
    copy, pairs = copied(paths, columns, paths[0].parent)
    times.append(time.process_time())
    read = sum(pair.fault is None for pair in read_pairs(paths, columns))
    times.append(time.process_time())
    again = sum(pair.fault is None for pair in (copy.pairs() if copy else read_pairs(paths, columns)))
    times.append(time.process_time())
    first, reading, following = (end - start for start, end in pairwise(times))
    counts = {"pairs": min(pairs, read, again)}
    return {**counts, "first": first, "reading": reading, "next": following, "memory": peak_memory()}


def peak_memory() -> float:
    """Return the peak memory of this process in MB; `getrusage` would include that of its parent before `exec`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def made_up() -> list[tuple[str, str]]:
    """Return 10,000 pairs of 5 to 30 random words each."""
    chance = random.Random(1)
    words = ["".join(chance.choices("enirstaäöüßdhulcgmobwfkzpv & <", k=chance.randint(2, 10))) for _ in range(5000)]
    sentences = [" ".join(chance.choices(words, k=chance.randint(5, 30))) for _ in range(20_000)]
    return list(zip(sentences[::2], sentences[1::2], strict=True))


def split(path: Path) -> list[tuple[str, str]]:
    """Return the pairs of a TSV file without other columns."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(row[0], row[1]) for row in rows]


def tsv(file: IO[str], pairs: Pairs) -> None:
    file.writelines(f"{source}\t{target}\n" for source, target in pairs)


def tmx(file: IO[str], pairs: Pairs) -> None:
    file.write(
        '<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4"><header srclang="de"/><body>\n'
    )
    file.writelines(UNIT.format(n, escape(source), escape(target)) for n, (source, target) in enumerate(pairs))
    file.write("</body></tmx>\n")


def xliff(file: IO[str], pairs: Pairs) -> None:
    file.write('<?xml version="1.0"?>\n<xliff version="1.2"><file source-language="de" target-language="en"><body>\n')
    file.writelines(XLIFF_UNIT.format(n, escape(source), escape(target)) for n, (source, target) in enumerate(pairs))
    file.write("</body></file></xliff>\n")


def json_lines(file: IO[str], pairs: Pairs) -> None:
    file.writelines(json.dumps({"translation": {"de": one, "en": other}}) + "\n" for one, other in pairs)


def json_array(file: IO[str], pairs: Pairs) -> None:
    file.write("[")
    file.writelines(f"{',' * bool(n)}\n{json.dumps({'de': one, 'en': other})}" for n, (one, other) in enumerate(pairs))
    file.write("\n]\n")


def text_file(write: Callable[[IO[str], Pairs], None], name: str, opener: Callable[..., IO[str]] = open):
    """Return a writer of one text file."""

    def written(folder: Path, pairs: Pairs) -> list[Path]:
        with opener(folder / name, "wt", encoding="utf-16" if "utf-16" in name else "utf-8") as file:
            write(file, pairs)
        return [folder / name]

    return written


def sides(folder: Path, pairs: Pairs) -> list[Path]:
    paths = [folder / f"a.{code}" for code in LANGUAGES]
    with open(paths[0], "w", encoding="utf-8") as one, open(paths[1], "w", encoding="utf-8") as other:
        for source, target in pairs:
            one.write(source + "\n")
            other.write(target + "\n")
    return paths


def moses_zip(folder: Path, pairs: Pairs) -> list[Path]:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sides(folder, pairs):
            archive.write(path, f"a.de-en.{path.suffix[1:]}")
    return [folder / "a.zip"]


def parquet(folder: Path, pairs: Pairs) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("translation", pa.struct([("de", pa.string()), ("en", pa.string())]))])
    with pq.ParquetWriter(folder / "a.parquet", schema) as writer:
        while block := list(islice(pairs, 100_000)):
            rows = [{"translation": {"de": one, "en": other}} for one, other in block]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return [folder / "a.parquet"]


WRITERS: dict[str, Callable[[Path, Pairs], list[Path]]] = {
    "two files": sides,
    "tsv": text_file(tsv, "a.tsv"),
    "tsv.gz": text_file(tsv, "a.tsv.gz", gzip.open),
    "tsv.bz2": text_file(tsv, "a.tsv.bz2", bz2.open),
    "tsv.xz": text_file(tsv, "a.tsv.xz", lzma.open),
    "moses.zip": moses_zip,
    "tmx": text_file(tmx, "a.tmx"),
    "tmx utf-16": text_file(tmx, "utf-16.tmx"),
    "xliff": text_file(xliff, "a.xlf"),
    "jsonl": text_file(json_lines, "a.jsonl"),
    "json": text_file(json_array, "a.json"),
    "parquet": parquet,
}


if __name__ == "__main__":
    main()
