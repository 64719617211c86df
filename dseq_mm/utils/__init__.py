"""Helpers around the package: what is installed, and how runs are launched.

Nothing is imported here: ``dseq_mm.utils.stack`` must work without PyTorch.
"""
