"""Why a margin is what it is, who causes it, what changed, and what if."""
