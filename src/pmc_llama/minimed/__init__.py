"""MiniMed, the synthetic medical world that the demo and the tests run on.

Begin reading at `world.py`.
"""
