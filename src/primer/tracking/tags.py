"""The tags that primer sets on a run in MLflow, beside MLflow's own."""

ID = "primer.id"  # the journal's, which a run is found by
FOLDER = "primer.folder"
HOST = "primer.host"
COMMAND = "primer.command"  # what to type for it
CONFIG_HASH = "primer.config_hash"
GROUP = "primer.group"  # everything but the seed
SWEEP = "primer.sweep"  # the run of the sweep that it is a job of
PARENT = "mlflow.parentRunId"  # the same, as MLflow nests runs
FUSED = "primer.num_fused"  # runs that it trained as one with, itself among them
COUNTS = "primer.counts"  # of a sweep: how its jobs ended
PRUNED = "primer.pruned"  # a search stopped it, being hopeless
DIRTY = "primer.git.dirty"
PATCH = "primer.git.patch"  # digest of what is not committed
FORKED_FROM = "primer.forked_from"  # the run, and the checkpoint, that this one began with
REPRODUCES = "primer.reproduces"  # the run that this one repeats
VERIFICATION = "primer.verification"  # + .FUNCTION: the verdict on a custom Function that the run uses
WARNING = "primer.warning"
ERROR = "primer.error"
NONFINITE = "primer.nonfinite"
DRIFT = "primer.drift."  # + what changed before a run was resumed: OLD -> NEW
SHIPPED = "primer.shipped"  # bytes of the journal that have arrived
