package main

import (
	"fmt"
	"time"
)

// client is one goroutine that owns all state; links and the contract send it events and orders.
// It never writes to the network by itself, so nothing that the peer does keeps it from its clock.
type client struct {
	url    string
	tell   func(any)
	events chan event
	*profile

	phase    phase
	link     *link // the attempt under way, or the connection
	isOpen   bool
	deadline time.Time // of the phase: open timeout, wait, close timeout
	readyAt  time.Time
	closing  closing

	tokens  tokens
	token   string // the one of this attempt
	backoff backoff
	bound   time.Duration // lower bound of the next wait, by the server
	refused bool          // a token, without a ready since
	known   bool          // there was a session before
	quit    bool

	session session
	subs    subscriptions
	outbox  outbox
	inbox   inbox
	beat    *heartbeat
	pacer   *pacer
	writing *item // whose frame the link writes
	busy    bool  // the link writes a frame
	looked  time.Time
}

type phase int

const (
	idle       phase = iota // not started
	waiting                 // for the next attempt
	connecting              // until the welcome
	ready
	ending // a close handshake is under way
	over
)

// value is the ready state that is exposed.
func (p phase) value() int {
	return map[phase]int{ready: 1, ending: 2, over: 3}[p]
}

// closing is what to do when our close handshake is through.
type closing struct {
	code   int
	reason string
	then   func()
	queues bool // sends go on: a connection follows
}

func newClient(url, token string, figures *profile, tell func(any)) *client {
	c := &client{url: url, tell: tell, events: make(chan event), profile: figures}
	c.tokens.current = token
	c.backoff.figures = figures
	c.outbox = outbox{figures: figures, maxMessage: figures.Message.MaxSize, nextID: 1, settle: c.settled}
	c.inbox.deliver = func(m message) {
		tell(say{"event": "message", "topic": m.topic, "data": m.data})
	}
	return c
}

// run lives until orders ends or says exit.
func (c *client) run(orders <-chan order) {
	timer := time.NewTimer(0)
	for !c.quit || c.phase == ending {
		timer.Reset(max(0, time.Until(c.wake())))
		select {
		case one, more := <-orders:
			if !more {
				orders, one.Do = nil, "exit"
			}
			c.look()
			c.obey(one)
		case one := <-c.events:
			c.look()
			if one.from == c.link { // else it is of a link that was given up
				c.heard(one.what)
			}
		case <-timer.C:
			c.look()
		}
		c.expire(time.Now())
		c.pump(time.Now())
	}
}

// look notices that the clock jumped, or that we did not run: what the link is worth is not known then.
func (c *client) look() {
	now := time.Now()
	if c.phase == ready && now.Round(0).Sub(c.looked.Round(0)) > c.jump() {
		c.beat.jumped(now)
	}
	c.looked = now
}

func (c *client) jump() time.Duration { return c.Heartbeat.Deadline.duration() }

// wake is the next instant at which something may be due.
func (c *client) wake() time.Time {
	next := time.Now().Add(c.jump() / 4)
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	switch c.phase {
	case waiting, connecting, ending:
		sooner(c.deadline)
	case ready:
		sooner(c.beat.wake())
		sooner(c.inbox.wake(&c.session))
		if one, f := c.outbox.next(); one != nil && !c.busy && !c.beat.testing && c.mayStart(one) {
			sooner(c.pacer.wake(cost(f)))
		}
	}
	return next
}

// expire does what is due.
func (c *client) expire(now time.Time) {
	switch c.phase {
	case waiting:
		if !now.Before(c.deadline) {
			c.attempt()
		}
	case connecting:
		if !now.Before(c.deadline) {
			c.broke("not ready in time")
		}
	case ending:
		if !now.Before(c.deadline) {
			c.closing.code, c.closing.reason = 1006, "the peer did not finish the close handshake"
			c.closed()
		}
	case ready:
		if c.beat.dead(now, c.link.lastProgress()) {
			c.broke("no answer to a ping")
		} else if payload := c.beat.due(now); payload != "" {
			c.pacer.charge(now)
			c.link.ping(payload)
		}
	}
}

// attempt opens a connection.
func (c *client) attempt() {
	c.tell(say{"event": "connecting"})
	c.isOpen, c.busy, c.writing, c.bound = false, false, nil, 0
	token, err := c.tokens.fetch()
	if err != nil {
		c.reportClosed(0, err.Error())
		c.failed(retry, err.Error(), false)
		return
	}
	c.token = token
	address, header := present(c.Auth.Mode, token, c.url)
	c.phase, c.deadline = connecting, time.Now().Add(c.Reconnect.OpenTimeout.duration())
	c.link = dial(address, header, c.profile, c.events)
}

// broke gives the link up at once.
func (c *client) broke(reason string) {
	code := 0
	if c.isOpen {
		code = 1006
	}
	c.ended(ended{code: code, reason: reason})
}

// ended takes the end of a link that we did not close on purpose.
func (c *client) ended(how ended) {
	how.reason = redact(how.reason, c.token)
	stable := c.phase == ready && time.Since(c.readyAt) >= c.Backoff.StableAfter.duration()
	c.leave()
	c.reportClosed(how.code, how.reason)
	reaction := retry
	if how.code != 0 {
		reaction = c.afterClose(how.code)
	}
	if how.ours && reaction == drop { // it was the peer's message that is too big, none of ours
		reaction = retry
	}
	if how.code == 1000 && reaction == stop {
		c.finish("closed by the server")
		return
	}
	c.failed(reaction, lastly(how), stable)
}

func lastly(how ended) string {
	if how.code == 0 {
		return how.reason
	}
	return fmt.Sprintf("closed with %d: %s", how.code, how.reason)
}

// leave lets go of the link.
func (c *client) leave() {
	c.link.abort()
	c.link, c.beat, c.pacer = nil, nil, nil
}

// failed waits for the next attempt, or gives up.
func (c *client) failed(reaction, what string, stable bool) {
	if stable {
		c.backoff.clear()
	}
	switch reaction {
	case stop, fatal:
		c.giveUp(what)
		return
	case refresh:
		if c.refused {
			c.giveUp("refused with a new token, too: " + what)
			return
		}
		c.refused = true
	case fresh:
		c.session.forget()
	case drop:
		c.outbox.dropLargest("too big for the server: " + what)
	}
	if !c.backoff.failed() {
		c.giveUp("no retry is left: " + what)
		return
	}
	if !c.Backoff.HonourRetryAfter {
		c.bound = 0
	}
	delay := c.backoff.wait(reaction == later, c.bound)
	c.phase, c.deadline = waiting, time.Now().Add(delay)
	c.tell(say{"event": "waiting", "attempt": c.backoff.failures, "delay": delay.Seconds()})
}

func (c *client) giveUp(what string) {
	c.phase = over
	undelivered := []string{}
	for _, one := range c.outbox.handBack() {
		c.subs.settled(one, what)
		undelivered = append(undelivered, one.refs...)
	}
	c.tell(say{"event": "gave_up", "error": what, "undelivered": undelivered})
}

// finish ends without an error.
func (c *client) finish(why string) {
	c.phase = over
	c.outbox.fail(why)
}

// close begins a close handshake of ours; then follows its end, or its deadline.
func (c *client) close(code int, reason string, queues bool, then func()) {
	c.phase, c.deadline = ending, time.Now().Add(c.Close.Timeout.duration())
	c.closing = closing{code, reason, then, queues}
	c.link.close(code, reason)
}

// closed ends our close handshake.
func (c *client) closed() {
	c.leave()
	c.phase = over
	c.reportClosed(c.closing.code, c.closing.reason)
	c.closing.then()
}

func (c *client) reportClosed(code int, reason string) {
	said := say{"event": "closed", "code": nil, "reason": reason}
	if code != 0 {
		said["code"] = code
	}
	c.tell(said)
}

func (c *client) settled(one *item, failure string) {
	c.subs.settled(one, failure)
	for _, ref := range one.refs {
		said := say{"event": "settled", "ref": ref, "ok": failure == ""}
		if failure != "" {
			said["error"] = failure
		}
		c.tell(said)
	}
}
