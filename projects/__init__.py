"""What builds on dseq_mm from outside it."""
