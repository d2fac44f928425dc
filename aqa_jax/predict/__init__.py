"""Scores for ordinary video files."""
