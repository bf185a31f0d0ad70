"""Train a net: the LightningModule, its batches, its checkpoints, and what is recorded on the way."""
