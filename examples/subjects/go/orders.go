package main

import (
	"fmt"
	"os"
)

// obey does what the application wants.
func (c *client) obey(one order) {
	switch one.Do {
	case "connect":
		if c.phase == idle {
			c.attempt()
		}
	case "send", "send_binary", "subscribe", "unsubscribe":
		c.put(one)
	case "token":
		c.tokens.current = one.Token
	case "token_fails":
		c.tokens.failing = one.Times
	case "pause_reading":
		c.inbox.paused = true
	case "resume_reading":
		c.inbox.paused = false
		c.inbox.flush(&c.session)
	case "buffered":
		c.tell(say{"event": "buffered", "bytes": c.outbox.buffered()})
	case "state":
		c.tell(say{"event": "state", "value": c.phase.value()})
	case "reconnect":
		c.reconnect()
	case "close":
		c.shut("closed by the application")
	case "exit":
		c.quit = true
		c.shut("the application ends")
	default:
		fmt.Fprintln(os.Stderr, "unknown order:", one.Do)
	}
}

func (c *client) put(one order) {
	it := &item{kind: one.Do, topic: one.Topic, data: one.Data}
	if one.Ref != "" {
		it.refs = []string{one.Ref}
	}
	if one.Do == "send_binary" {
		it.kind, it.blob = "send", pattern(one.Size)
	}
	if c.phase == over || c.phase == ending && !c.closing.queues {
		c.settled(it, "the client is closed")
		return
	}
	switch one.Do {
	case "subscribe":
		c.subs.want(one.Topic)
	case "unsubscribe":
		c.subs.drop(one.Topic)
	}
	c.outbox.put(it)
}

func pattern(size int) []byte {
	blob := make([]byte, size)
	for i := range blob {
		blob[i] = byte(i % 251)
	}
	return blob
}

// reconnect is the application's wish for a new connection now.
func (c *client) reconnect() {
	again := func() { c.backoff.clear(); c.refused = false; c.attempt() }
	switch c.phase {
	case ready:
		c.close(1000, "reconnect", true, again)
	case ending:
		c.closing.then, c.closing.queues = again, true
	case waiting, idle, over:
		again()
	}
}

// shut ends everything, in any phase.
func (c *client) shut(reason string) {
	phase := c.phase
	c.finish(reason)
	switch {
	case phase == ending:
		c.phase, c.closing.then, c.closing.queues = ending, func() {}, false
	case phase == waiting:
		c.reportClosed(0, reason)
	case phase == ready, phase == connecting && c.isOpen:
		c.close(1000, reason, false, func() {})
	case phase == connecting:
		c.leave()
		c.reportClosed(0, reason)
	}
}
