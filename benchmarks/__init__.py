"""Measurements against peers and promises. None is a test: each prints figures and writes a page."""
