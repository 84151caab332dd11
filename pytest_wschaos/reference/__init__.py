"""The reference pair: a client and a server that keep every rule of the reliability spec, and speak ``wschaos.v1``."""
