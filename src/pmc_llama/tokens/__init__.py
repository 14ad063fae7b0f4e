"""Token stores, and the order in which training sees them.

Begin reading at `encode.py` for the store and `order.py` for the order.
"""
