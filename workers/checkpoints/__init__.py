"""Checkpoints: snapshots on disk or in an object store, written whole or not at all, and verified when read.

    <destination>/attempt.json                   the latest attempt that may write (`fence`)
                  <step>-<attempt>/arrays.npz    weights, optimizer variables, arrays that callbacks remember
                  <step>-<attempt>/manifest.json what it is, and SHA-256 and bytes of every file beside it

Nothing here is pickled, and nothing that is read is trusted: see `manifest`. docs/survive.md tells the whole story.
"""
