"""The seam under ``SharedQwen``: requests, results, and the engines that answer them."""
