"""Where models are served. Each target renders plain documents (pure) and has one adapter for its I/O."""
