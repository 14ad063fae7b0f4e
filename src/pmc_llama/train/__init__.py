"""The one training loop, its optimiser, checkpoints and metrics.

Begin reading at `loop.py`.
"""
