"""The living index: which node offers which skill, and how good an offer is now."""
