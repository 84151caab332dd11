package main

import (
	"strconv"
	"time"
)

// heartbeat tells when to ping, and when a link is dead. It lives and dies with its connection.
type heartbeat struct {
	interval time.Duration // 0: none
	deadline time.Duration
	next     time.Time
	count    int
	awaited  string // payload of the ping that is not answered yet
	dieAt    time.Time
	testing  bool // after a jump of the clock: nothing is sent until the link has answered
	wanted   bool // the writer waits for proof that what it wrote went through
	proving  bool // the outstanding ping lies behind all of that
}

func newHeartbeat(figures *profile, now time.Time) *heartbeat {
	h := &heartbeat{deadline: figures.Heartbeat.Deadline.duration()}
	if figures.Heartbeat.Interval != nil && bug != noHeartbeat { // BUG no-heartbeat
		h.interval = figures.Heartbeat.Interval.duration()
	}
	h.next = now.Add(h.interval)
	return h
}

// due is the payload of the ping to send now; empty: none.
func (h *heartbeat) due(now time.Time) string {
	if h.interval == 0 || h.awaited != "" || now.Before(h.next) {
		return ""
	}
	h.count++
	h.awaited, h.next, h.dieAt = strconv.Itoa(h.count), now.Add(h.interval), now.Add(h.deadline)
	h.proving = h.wanted
	return h.awaited
}

// want pings as soon as none is outstanding; true: there is no heartbeat, go on without.
func (h *heartbeat) want(now time.Time) bool {
	if h.interval == 0 {
		return true
	}
	h.wanted, h.next = true, now
	return false
}

// pong takes the answer to the outstanding ping; a late or foreign one proves nothing.
// True: what the writer waits for is proven.
func (h *heartbeat) pong(payload string) (proven bool) {
	if payload != h.awaited {
		return false
	}
	proven = h.wanted && h.proving
	h.awaited, h.testing, h.wanted = "", false, h.wanted && !proven
	return proven
}

// dead says whether the deadline has passed, counted from when an unfinished message last made progress.
func (h *heartbeat) dead(now, progress time.Time) bool {
	if h.awaited == "" {
		return false
	}
	if later := progress.Add(h.deadline); later.After(h.dieAt) {
		h.dieAt = later
	}
	return !now.Before(h.dieAt)
}

// jumped forgets the outstanding ping, whose answer may lie unread, and asks for a new one at once.
func (h *heartbeat) jumped(now time.Time) {
	if h.interval != 0 {
		h.awaited, h.next, h.testing = "", now, true
	}
}

// wake is when something may be due.
func (h *heartbeat) wake() time.Time {
	switch {
	case h.interval == 0:
		return time.Time{}
	case h.awaited != "":
		return h.dieAt
	}
	return h.next
}
