"""How that which is under test is started, told what to do, and heard."""
