"""Commands: one module each, thin, with heavy packages imported inside functions."""
