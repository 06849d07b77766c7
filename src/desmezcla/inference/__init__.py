"""Running models on audio: the engine, and what wraps it for users."""
