"""The demo: from nothing to predictions from a real cluster with one command."""
