"""Measurements. Figures are ratios within one run, never absolute: machines differ and are noisy."""
