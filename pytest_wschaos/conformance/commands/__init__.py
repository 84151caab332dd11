"""The commands of ``wschaos`` that concern the suite: what each takes, and what it does."""
