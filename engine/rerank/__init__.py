"""Exact evidence of a shortlist: records of densities and samples, their files, and the kernels that score them."""
