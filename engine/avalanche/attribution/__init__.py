"""Who makes the tail, who amplifies it, who forced whose call."""
