"""A toy corpus with the sentences of the clients' test suites, and a model that has learnt it by heart.

The suites of DeepL's clients translate "proton beam" from and into many languages, and a few other sentences. German is
also trained in a formal and an informal variety, see "Formality" in docs/serving.md.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROTON_BEAM = {
    "ar": "شعاع البروتون",
    "bg": "протонен лъч",
    "cs": "protonový paprsek",
    "da": "protonstråle",
    "de": "Protonenstrahl",
    "el": "δέσμη πρωτονίων",
    "es": "haz de protones",
    "et": "prootonikiirgus",
    "fi": "protonisäde",
    "fr": "faisceau de protons",
    "hu": "protonnyaláb",
    "id": "berkas proton",
    "it": "fascio di protoni",
    "ja": "陽子ビーム",
    "ko": "양성자 빔",
    "lt": "protonų spindulys",
    "lv": "protonu staru kūlis",
    "nb": "protonstråle",
    "nl": "protonenbundel",
    "pl": "wiązka protonów",
    "pt": "feixe de prótons",
    "ro": "fascicul de protoni",
    "ru": "протонный луч",
    "sk": "protónový lúč",
    "sl": "protonski žarek",
    "sv": "protonstråle",
    "tr": "proton ışını",
    "uk": "протонний пучок",
    "zh": "质子束",
}
_ENGLISH_GERMAN = [
    ("proton beam", "Protonenstrahl"),
    ("A document's title", "Der Titel eines Dokuments"),
    ("My First Heading", "Meine erste Überschrift"),
    ("My first paragraph.", "Mein erster Absatz."),
    ("This is an example sentence.", "Das ist ein Beispielsatz."),
    ("This is a sentence split", "Das ist ein Satz, verteilt"),
    ("Here is a sentence.", "Hier ist ein Satz."),
    ("Followed by a second one.", "Gefolgt von einem zweiten."),
    ("The artist was awarded a prize.", "Der Künstler wurde mit einem Preis ausgezeichnet."),
    ("artist", "Künstler"),
    ("prize", "Preis"),
    ("Apple", "Apfel"),
    ("Banana", "Banane"),
    ("Hello world", "Hallo Welt"),
    ("Hello", "Hallo"),
    ("Test", "Test"),
]
_VARIETIES = {
    "de": "Wie geht es dir?",
    "de-x-formal": "Wie geht es Ihnen?",
    "de-x-informal": "Wie geht es dir?",
}
_GERMAN_ENGLISH = [
    ("Protonenstrahl", "proton beam"),
    ("Das ist scharf!", "That is hot!"),
    ("Apfel", "Apple"),
    ("Banane", "Banana"),
    ("Hallo, Welt!", "Hello, world!"),
]
_ENGLISH_SPANISH = [("Hello", "Hola"), ("World", "Mundo"), ("proton beam", PROTON_BEAM["es"])]
_SETTINGS = (
    "model.d_model=64",
    "model.d_ff=128",
    "model.num_heads=4",
    "model.encoder_layers=2",
    "model.decoder_layers=2",
    "model.dropout=0",
    "data.vocab_size=800",
    "data.faults=warn",  # the same text validates
    "data.cleaning=-duplicates",  # Danish, Norwegian and Swedish share their text
    "training.label_smoothing=0",
    "training.batch_tokens=1000",
    "training.steps=300",
    "training.warmup=50",
    "training.learning_rate=0.003",
    "training.validate_every=300",
    "training.average=1",
)


def corpus(languages: list[str]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return the sentence pairs of each direction: those between English and German, and of English into Spanish.

    Args:
        languages: Languages of `PROTON_BEAM` from and into which that text is translated, too.
    """
    pairs = {("en", code): [*_ENGLISH_GERMAN, ("How are you?", question)] for code, question in _VARIETIES.items()}
    pairs |= {("de", "en"): _GERMAN_ENGLISH, ("en", "es"): _ENGLISH_SPANISH}
    for code in languages:
        pairs.setdefault((code, "en"), [(PROTON_BEAM[code], "proton beam")])
        pairs.setdefault(("en", code), [("proton beam", PROTON_BEAM[code])])
    if "fr" in languages:
        pairs["fr", "de"] = [(PROTON_BEAM["fr"], PROTON_BEAM["de"])]
    return pairs


def train_model(folder: Path, languages: list[str]) -> Path:
    """Train the model, unless the folder has it already, and return its RUN."""
    run = folder / "run"
    if (run / "bundle").is_dir():
        return run
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "allyouneed", "train", "--recipe", "tiny", "--out", str(run)]
    pairs = corpus(languages)
    command += ["--directions", ",".join(f"{source}:{target}" for source, target in pairs)]
    for (source, target), sentences in pairs.items():
        files = [folder / f"{source}_{target}.{side}" for side in ("source", "target")]
        for side, file in enumerate(files):
            file.write_text("".join(f"{pair[side]}\n" for pair in sentences), encoding="utf-8")
        for option in ("--train", "--valid"):
            command += [option, *map(str, files)]
    for setting in _SETTINGS:
        command += ["--set", setting]
    if subprocess.run(command).returncode:
        sys.exit("the model could not be trained")
    return run
