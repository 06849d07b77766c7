"""Effects of a mixing desk: pure functions of audio `[C, T]` that leave length and input alone."""
