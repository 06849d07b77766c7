"""Many tracks: one task is one track, and a bad track stops no other."""
