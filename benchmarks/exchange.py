"""Measure the agreement with other systems on test_2016_flickr: `python benchmarks/exchange.py RUN DATA`.

RUN is a translator of lowercased, tokenised Multi30k, DATA the folder with its files (see README.md). Each exported
format translates the same 1,000 sentences as the translator, with beam 1 and 4 and no length penalty; quantized models
are scored. The result is a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
import time
from pathlib import Path

from allyouneed.bundle import load_bundle
from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.export import QUANTIZATIONS
from allyouneed.exchange.exporter import export_bundle

FORMATS = [("ctranslate2", None), *(("ctranslate2", kind) for kind in QUANTIZATIONS), ("argos", None), ("marian", None)]
VERSIONS = ("allyouneed", "torch", "ctranslate2", "transformers", "sentencepiece", "sacrebleu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", default="test_2016_flickr.lc.norm.tok")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    test = [args.data / f"{args.name}.{language}.gz" for language in bundle.languages]
    model, sections = bundle.config.model, []
    for format, quantization in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            lines: list[str] = []
            try:
                export_bundle(args.run, format, Path(folder) / format, quantization, test, lines.append)
            except UserError as error:
                lines = [f"{format}: rejected", str(error)]
            print("\n".join(lines), flush=True)
            sections += [f"### {format} {quantization or 'fp32'}", "```", *lines[1:], "```"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    date = time.strftime("%Y-%m-%d")
    page = [
        f"# Exchange: agreement, {date}",
        f"{'-'.join(bundle.languages)}, {model.encoder_layers} + {model.decoder_layers} layers, "
        f"d_model {model.d_model}, {model.norm}-norm, {len(bundle.tokenizer):,} subwords, trained for "
        f"{bundle.notes.get('steps', '?')} steps; {versions}",
        "",
        "`python benchmarks/exchange.py RUN DATA`",
        "",
        *sections,
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{date}-exchange.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
