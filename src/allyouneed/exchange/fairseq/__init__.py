"""Import of translation models of fairseq."""
