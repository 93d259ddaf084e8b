"""The margin-call avalanche: what a run is, its simulation, its closed form, its detection."""
