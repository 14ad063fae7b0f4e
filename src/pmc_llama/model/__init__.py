"""Models: Hugging Face folders onto shards and back, LoRA, attention that keeps documents apart, memory and FLOPs.

Begin reading at `load.py`.
"""
