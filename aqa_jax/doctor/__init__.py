"""Is everything here that a run needs, and what helps where it is not? ``--mode doctor``."""
