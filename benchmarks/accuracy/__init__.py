"""How often the model is right, next to what needs no model and to what is aimed at."""
