"""Training of features by supervised iterative descent: the LightningModule, its callbacks, tracking and sweeps."""
