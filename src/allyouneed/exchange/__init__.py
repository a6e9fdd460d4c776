"""Other systems' forms: a bundle as CTranslate2, Marian or Argos know it, and back from Marian."""
