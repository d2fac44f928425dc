"""Foreign and own weight files -> our parameter tree, and back."""
