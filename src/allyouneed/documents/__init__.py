"""Documents: FILES -> SEGMENTS -> FILES. One reader and writer per format; text is translated, everything else kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.documents.document import ReadOptions, is_document
    from allyouneed.documents.document_files import FileOptions, translate_documents
    from allyouneed.documents.document_translation import DocumentOptions
    from allyouneed.documents.segment_translation import Finders

__all__ = ["DocumentOptions", "FileOptions", "Finders", "ReadOptions", "is_document", "translate_documents"]

_MODULES = {
    "DocumentOptions": "allyouneed.documents.document_translation",
    "FileOptions": "allyouneed.documents.document_files",
    "Finders": "allyouneed.documents.segment_translation",
    "ReadOptions": "allyouneed.documents.document",
    "is_document": "allyouneed.documents.document",
    "translate_documents": "allyouneed.documents.document_files",
}

__getattr__ = lazy.attach(__name__, _MODULES)
