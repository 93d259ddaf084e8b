"""Early warning: a score, known at each close, of how near the next rise of margin is."""
