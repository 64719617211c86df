"""Slow and obvious implementations, written from the equations."""
