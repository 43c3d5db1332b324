"""Targets made of targets: one file each."""
