"""The sample fund: a 15bn USD multi-manager fund generated from a seed, with planted findings."""

from engine.fund.sample.planted import PlantedFact, planted_facts
from engine.fund.sample.write import sample_tables, write_sample_fund

__all__ = ["PlantedFact", "planted_facts", "sample_tables", "write_sample_fund"]
