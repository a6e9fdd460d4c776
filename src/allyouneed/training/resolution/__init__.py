"""From a request to settings: those of a new run, of the same run again, and of a longer run."""
