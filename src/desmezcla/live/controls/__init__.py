"""What changes the gains while the music plays: the keyboard, OSC and MIDI."""
