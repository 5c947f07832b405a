"""Pure decisions: facts come in, documents, actions and status come out. No I/O, clock, entropy or SDK enters."""
