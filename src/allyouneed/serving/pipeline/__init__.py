"""From texts to sentences in the queue and back."""
