"""SCALE: what one connection costs a server. SCALE-01, SCALE-02 and SCALE-04 have no cases yet."""
