"""Agreement with other systems on the 1,000 sentences of test_2016_flickr: `python benchmarks/exchange.py RUN DATA`.

RUN is a translator of lowercased, tokenised Multi30k, DATA the folder with its files (see README.md). Each form is
exported, and translates what ours translates, with beam 1 and 4 and no length penalty; quantized ones are scored. The
result is a dated Markdown file: --out, or benchmarks/results.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
import time
from pathlib import Path

from allyouneed.bundle import load_bundle
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2 import QUANTIZATIONS
from allyouneed.exchange.exporter import export_bundle

FORMS = [("ctranslate2", None), *(("ctranslate2", kind) for kind in QUANTIZATIONS), ("argos", None), ("marian", None)]
VERSIONS = ("allyouneed", "torch", "ctranslate2", "transformers", "sentencepiece", "sacrebleu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", default="test_2016_flickr.lc.norm.tok")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    bundle = load_bundle(asked.run)
    test = [asked.data / f"{asked.name}.{language}.gz" for language in bundle.languages]
    model, said = bundle.config.model, []
    for format, quantization in FORMS:
        with tempfile.TemporaryDirectory() as place:
            lines: list[str] = []
            try:
                export_bundle(asked.run, format, Path(place) / format, quantization, test, lines.append)
            except UserError as error:
                lines = [f"{format}: refused", str(error)]
            print("\n".join(lines), flush=True)
            said += [f"### {format} {quantization or 'fp32'}", "```", *lines[1:], "```"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    begun = time.strftime("%Y-%m-%d")
    page = [
        f"# Exchange: agreement, {begun}",
        f"{'-'.join(bundle.languages)}, {model.encoder_layers} + {model.decoder_layers} layers, "
        f"d_model {model.d_model}, {model.norm}-norm, {len(bundle.tokenizer):,} subwords, trained for "
        f"{bundle.notes.get('steps', '?')} steps; {versions}",
        "",
        "`python benchmarks/exchange.py RUN DATA`",
        "",
        *said,
    ]
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / f"{begun}-exchange.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
