"""The close-out family: positions and collateral unwound over several days."""
