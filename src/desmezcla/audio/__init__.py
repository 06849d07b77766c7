"""Reading, writing and resampling audio, in blocks, as numpy arrays `[C, T]` of float32."""
