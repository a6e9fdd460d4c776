"""The APIs: what clients send and receive."""
