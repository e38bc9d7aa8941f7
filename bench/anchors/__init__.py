"""What the product is measured beside. The scripts here run in an environment of their own, by path."""
