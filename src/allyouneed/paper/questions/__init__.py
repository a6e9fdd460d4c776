"""Why the square root, and why the mask: models that go without."""
