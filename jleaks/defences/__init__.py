"""Defences, one per file: other ways to train or to answer that are meant to hide who was a member."""
