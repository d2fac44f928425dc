"""Why a video got its score: which segments, and where in their frames."""
