"""Model files: loading, precision, quantized weights."""
