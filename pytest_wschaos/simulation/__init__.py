"""Virtual time: an hour of chaos in a blink, the same every time."""
