"""Language identification on real text: `python benchmarks/detection.py [--text CODE=FILE ...] [--catalogues FOLDER]`.

    python benchmarks/detection.py --text de=train.de.gz it=tatoeba.it --text ko,en=tatoeba.ko-en.tsv.gz \\
        --catalogues documents --served de,en,ko --peers PEERS

A text file has one text per line; with several codes, one column for each, separated by tabs. From gettext catalogues
(`locale/CODE/LC_MESSAGES/*.po`), translations are taken that differ from their source. Each text is identified by the
server's detector (`serving/detection/detector.py`), by py3langid alone, and by the peers that are installed: lingua,
and langdetect with lexilang, which LibreTranslate uses
(`pip install --target PEERS lingua-language-detector langdetect lexilang`).

Printed are, by length of the text, the share of languages that are named rightly, and for a server of `--served`
languages, its decisions: the share of served texts that are translated from their language, and of others that are
translated from a wrong one although the server calls itself certain.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: E402

from allyouneed.documents.document import ReadOptions, read_document  # noqa: E402
from allyouneed.documents.segments import plain_text  # noqa: E402
from allyouneed.errors import UserError  # noqa: E402
from allyouneed.languages import canonical_code, primary  # noqa: E402
from allyouneed.serving.detection.detector import LanguageDetector  # noqa: E402
from allyouneed.translation.protection import has_letters  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

LENGTHS = (10, 20, 40, 80, 1_000_000)  # characters
SAME = {"nb": "no", "nn": "no", "hr": "sh", "bs": "sh", "sr": "sh", "fil": "tl", "ms": "id"}  # not told apart
Sample = tuple[str, str]  # a language and a text
Identify = Callable[[str], str]


def main() -> None:
    args = _arguments()
    sys.path.append(str(args.peers))
    samples = list(_samples(args))
    served = args.served.split(",")
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}\n")
    print(f"{len(samples):,} texts in {len({code for code, _ in samples})} languages; served: {args.served}\n")
    print(f"| share of texts | {' | '.join(_bucket_names())} | all | ms/text |\n{'| --- ' * (len(LENGTHS) + 3)}|")
    for name, identify in _identifiers(served):
        _accuracy(name, identify, samples)
    _decisions(LanguageDetector(served), served, samples)


def _accuracy(name: str, identify: Identify, samples: list[Sample]) -> None:
    right: dict[int, list[bool]] = defaultdict(list)
    started = time.process_time()
    for code, text in samples:
        right[_bucket(text)].append(_same(identify(text), code))
    milliseconds = 1000 * (time.process_time() - started) / max(1, len(samples))
    _row(f"{name}: right language", right, f"{milliseconds:.2f}")


def _decisions(detector: LanguageDetector, served: list[str], samples: list[Sample]) -> None:
    """Print what a server does with the texts."""
    kept, refused, certain = (defaultdict[int, list[bool]](list) for _ in range(3))
    calibration: dict[int, list[bool]] = defaultdict(list)
    for code, text in samples:
        found = detector.detect(text, served)
        is_served = any(_same(code, each) for each in served)
        if is_served:
            kept[_bucket(text)].append(_same(found.language, code))
        else:
            refused[_bucket(text)].append(found.language not in served)
            certain[_bucket(text)].append(found.language in served and found.is_certain)
        calibration[min(9, int(found.confidence // 10))].append(_same(found.language, code))
    _row("served texts: translated from their language", kept)
    _row("other texts: refused", refused)
    _row("other texts: translated without a remark", certain)
    print("\n| confidence | " + " | ".join(f"{10 * each}+" for each in sorted(calibration)) + " |")
    print("| --- " * (len(calibration) + 1) + "|")
    shares = [f"{100 * sum(calibration[each]) / len(calibration[each]):.0f} %" for each in sorted(calibration)]
    print("| right | " + " | ".join(shares) + " |")


def _row(name: str, found: dict[int, list[bool]], last: str = "") -> None:
    everything = [each for values in found.values() for each in values]
    cells = [found.get(bucket, []) for bucket in range(len(LENGTHS))] + [everything]
    shares = [f"{100 * sum(each) / len(each):.1f} %" if each else "" for each in cells]
    print(f"| {name} | {' | '.join(shares)} | {last} |", flush=True)


def _identifiers(served: list[str]) -> Iterator[tuple[str, Identify]]:
    detector = LanguageDetector(served)
    yield "server", lambda text: detector.rank(text)[0].language
    bare = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    yield "py3langid", lambda text: bare.classify(text)[0]
    try:
        import lingua

        lingua_detector = lingua.LanguageDetectorBuilder.from_all_languages().build()
    except ImportError:
        print("lingua is not installed", file=sys.stderr)
    else:

        def by_lingua(text: str) -> str:
            found = lingua_detector.detect_language_of(text)
            return found.iso_code_639_1.name.lower() if found else ""

        yield "lingua", by_lingua
    try:
        import langdetect
        import lexilang.detector

        langdetect.DetectorFactory.seed = 0
    except ImportError:
        print("langdetect and lexilang are not installed", file=sys.stderr)
    else:

        def by_libretranslate(text: str) -> str:
            language, confidence = lexilang.detector.detect(text)
            if confidence > 0:
                return language
            try:
                return langdetect.detect_langs(text)[0].lang
            except langdetect.lang_detect_exception.LangDetectException:
                return ""

        yield "lexilang and langdetect", by_libretranslate


def _samples(args: argparse.Namespace) -> Iterator[Sample]:
    by_language: dict[str, list[str]] = defaultdict(list)
    for each in args.text:
        codes, _, path = each.partition("=")
        data = Path(path).read_bytes()
        for line in (gzip.decompress(data) if path.endswith(".gz") else data).decode().splitlines():
            for code, text in zip(codes.split(","), line.split("\t"), strict=False):
                by_language[f"{path} {primary(code)}"].append(text)
    for path in sorted(args.catalogues.rglob("locale/*/LC_MESSAGES/*.po")) if args.catalogues else ():
        code = canonical_code(path.parts[-3].partition("@")[0])
        if code:
            by_language[f"catalogues {primary(code)}"] += _messages(path)
    chooser = random.Random(1)
    for name, texts in sorted(by_language.items()):
        texts = sorted({text.strip() for text in texts if has_letters(text)})
        for text in chooser.sample(texts, min(args.each, len(texts))):
            yield name.rpartition(" ")[2], text


def _messages(path: Path) -> Iterator[str]:
    try:
        segments = read_document(path.read_bytes(), ReadOptions(path.name)).segments
    except UserError:
        return
    for segment in segments:
        text = plain_text(segment.target or ())
        if text and text != segment.text:
            yield text


def _bucket(text: str) -> int:
    return next(index for index, longest in enumerate(LENGTHS) if len(text) <= longest)


def _bucket_names() -> list[str]:
    starts = [1, *(length + 1 for length in LENGTHS)]
    return [f"{start}–{end}" for start, end in zip(starts, LENGTHS[:-1], strict=False)] + [f"{starts[-2]}+"]


def _same(one: str, other: str) -> bool:
    first, second = (primary(code) if code else "" for code in (one, other))
    return SAME.get(first, first) == SAME.get(second, second)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", nargs="+", default=[], metavar="CODE=FILE", help="files with a text per line")
    parser.add_argument("--catalogues", type=Path, help="folder of gettext catalogues")
    parser.add_argument("--served", default="de,en,ko", help="languages of the server")
    parser.add_argument("--each", type=int, default=200, help="texts of each language and file")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder in which the peers are installed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
