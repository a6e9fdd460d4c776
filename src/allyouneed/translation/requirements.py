"""What translations must contain: parts that stay unchanged, and the terms of a glossary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.finding import KeepOptions, find_kept
from allyouneed.translation.sentence import Sentence, Span, Term, TranslatedSentence
from allyouneed.translation.sentence_translation import translate_sentences
from allyouneed.translation.terminology.glossary import Glossary
from allyouneed.translation.translator import Translator


@dataclass(frozen=True)
class Requirements:
    """Requirements on the translation of texts.

    Attributes:
        keep: What stays unchanged; None for nothing.
        glossary: Terms and their translations.

    Example:
        requirements = Requirements(glossary=read_glossary(Path("terms.tsv"), "de", "en"))
        [found] = requirements.translate(translator, ["Ein Hund rennt."])
        found.text
    """

    keep: KeepOptions | None = field(default_factory=KeepOptions)
    glossary: Glossary | None = None

    def __bool__(self) -> bool:
        """Return whether there are any requirements."""
        return self.keep is not None or self.glossary is not None

    def find_kept(self, text: str) -> tuple[Span, ...]:
        """Return the positions of the parts of a text that stay unchanged."""
        return () if self.keep is None else find_kept(text, self.keep)

    def find_terms(self, text: str, kept: Sequence[Span]) -> tuple[Term, ...]:
        """Return the terms of a text; one may contain parts that otherwise stay unchanged, see `Glossary.find`."""
        return () if self.glossary is None else self.glossary.find(text, kept)

    def sentence(self, text: str) -> Sentence:
        """Return a sentence with what its translation must contain."""
        kept = self.find_kept(text)
        return Sentence.of(text, kept, self.find_terms(text, kept))

    def translate(
        self, translator: Translator, texts: Sequence[str], options: SearchOptions | None = None
    ) -> list[TranslatedSentence]:
        """Translate texts, each as one sentence.

        Args:
            translator: The translator.
            texts: The texts.
            options: Search options; None for the bundle's.
        """
        return translate_sentences(translator, [self.sentence(text) for text in texts], options)

    @cached_property
    def digest(self) -> str:
        """A digest of the requirements: equal ones have the same."""
        keep = None if self.keep is None else [self.keep.numbers, [each.pattern for each in self.keep.patterns]]
        entries = None if self.glossary is None else self.glossary.entries
        return hashlib.sha256(json.dumps([keep, entries]).encode()).hexdigest()
