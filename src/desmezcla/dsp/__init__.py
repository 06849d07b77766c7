"""Signal processing that models share; torch tensors in, torch tensors out."""
