"""A page on this machine that scores a video: for whoever has a run and no command line."""
