"""PROXY: what stands between client and server. No rule of it has cases yet."""
