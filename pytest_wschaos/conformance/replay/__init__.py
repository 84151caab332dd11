"""REPLAY: what a lost connection had on its way is neither lost, nor doubled, nor out of order."""
