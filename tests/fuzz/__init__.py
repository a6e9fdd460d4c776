"""Fuzzing of all readers and writers with damaged files: `make fuzz MINUTES=60`.

`samples.py` has a small file of each format, `mutations.py` damages it, and `checks.py` feeds it to the readers and
writers and checks what they promise: a result or a `UserError` in one line, processor time and memory in proportion to
the size, and identity for documents that were read. `runner.py` does this in processes that may hang or crash.
"""
