package main

import "os"

// BUG=name plants one bug, so that it can be seen that the suite finds it; each place is marked with its name.
var bug = os.Getenv("BUG")

const (
	noHeartbeat         = "no-heartbeat"         // never pings: HEARTBEAT-01, HEARTBEAT-02
	resetAtHandshake    = "reset-at-handshake"   // a handshake clears the count of failures: BACKOFF-03
	flushBeforeWelcome  = "flush-before-welcome" // the queue goes out with the credentials: AUTH-02
	oldToken            = "old-token"            // asks its token provider only once: AUTH-03
	forgetSubscriptions = "forget-subscriptions" // restores none in a fresh session: REPLAY-07
)
