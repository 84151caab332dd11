"""STATE: a client tells how it stands, and what is given to it does not vanish."""
