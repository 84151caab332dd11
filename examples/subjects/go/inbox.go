package main

import (
	"encoding/json"
	"time"
)

type message struct {
	seq   int64
	topic string
	data  json.RawMessage
}

// Acknowledgements are cumulative, and charged like any frame: one for several messages.
const (
	ackEvery = 16
	ackAfter = 20 * time.Millisecond
)

// inbox holds messages back while the application does not read; what it did not take is not acknowledged,
// so the server stops by itself.
type inbox struct {
	deliver func(message)
	paused  bool
	held    []message
	ackAt   time.Time
	blob    []byte            // chunks of an unfinished one
	answers []json.RawMessage // pings of the server to answer
}

func (i *inbox) take(m message, s *session) {
	s.received = m.seq
	i.held = append(i.held, m)
	i.flush(s)
}

func (i *inbox) flush(s *session) {
	if i.paused {
		return
	}
	for _, m := range i.held {
		i.deliver(m)
		s.delivered = max(s.delivered, m.seq)
	}
	i.held = nil
	if i.ackAt.IsZero() && s.delivered > s.acked {
		i.ackAt = time.Now().Add(ackAfter)
	}
}

// orphan makes held messages those of an epoch that is gone.
func (i *inbox) orphan() {
	for at := range i.held {
		i.held[at].seq = 0
	}
}

func (i *inbox) ackDue(s *session, now time.Time) bool {
	return s.delivered > s.acked && (s.delivered >= s.acked+ackEvery || !now.Before(i.ackAt))
}

func (i *inbox) acked(s *session) {
	s.acked, i.ackAt = s.delivered, time.Time{}
}

func (i *inbox) wake(s *session) time.Time {
	if s.delivered > s.acked {
		return i.ackAt
	}
	return time.Time{}
}
