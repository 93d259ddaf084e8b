"""Fund packs: reading with quarantine, writing, the template, and the sample fund."""
