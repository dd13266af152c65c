"""Checkpoints: snapshots on disk or in an object store, written completely or not at all, and verified when read.

    <destination>/attempt.json                   the latest attempt that may write (`FENCE`)
                  <step>-<attempt>/arrays.npz    weights, optimizer variables, arrays that callbacks remember
                  <step>-<attempt>/manifest.json what the checkpoint holds, and SHA-256 and size of arrays.npz

Nothing is pickled, and nothing that is read is trusted: see `manifest`. docs/survive.md describes it for users.
"""

FINAL_WEIGHTS = "checkpoints/final.weights.h5"
FINAL_MODEL = "model.keras"
"""Names in a run's folder of what its leader writes at the end of training."""
