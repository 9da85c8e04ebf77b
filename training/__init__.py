"""The recipe of the bundled models; it imports the package and nothing else of this repository."""
