"""From files to something that scores: one module per kind of model. Knows no HTTP."""
