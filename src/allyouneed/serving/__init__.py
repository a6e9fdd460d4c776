"""HTTP and page: requests become sentences, sentences wait in one queue, model threads take them in batches."""
