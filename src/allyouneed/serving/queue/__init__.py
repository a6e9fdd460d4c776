"""The request queue and the model threads and processes that empty it."""
