"""Accuracy of the model, next to floors that need no model and to targets."""
