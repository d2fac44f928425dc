"""What came out, as one HTML file a person can open, print and pass on: a video's score, a run, runs side by side."""
