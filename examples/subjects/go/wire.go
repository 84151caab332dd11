package main

import (
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// incoming is any frame of the server's.
type incoming struct {
	Type  string          `json:"type"`
	N     json.RawMessage `json:"n"`
	ID    int64           `json:"id"`
	OK    bool            `json:"ok"`
	Error string          `json:"error"`
	Seq   int64           `json:"seq"`
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
	From  int64           `json:"from"`
	To    int64           `json:"to"`
	Chunk []int           `json:"chunk"`

	RetryAfter seconds `json:"retry_after"`
}

// heard takes what the link tells.
func (c *client) heard(what any) {
	switch what := what.(type) {
	case opened:
		c.isOpen = true
		if bug == resetAtHandshake { // BUG reset-at-handshake
			c.backoff.clear()
		}
		if c.phase == connecting {
			c.busy = true
			c.link.send(c.session.credentials(c.Auth.Mode, c.token))
		}
	case answered:
		c.leave()
		c.reportClosed(0, what.response.Status)
		c.bound = retryAfter(what.response)
		c.failed(afterAnswer(what.response.StatusCode), "the handshake was answered "+what.response.Status, false)
	case written:
		c.busy = false
		if c.writing != nil {
			c.outbox.handed(c.writing)
			c.writing = nil
		}
	case pinged:
		c.link.control(websocket.PongMessage, []byte(what.payload))
		if c.pacer != nil {
			c.pacer.charge(time.Now())
		}
	case ponged:
		if c.beat != nil && c.beat.pong(what.payload) {
			c.link.onward <- struct{}{}
		}
	case filled:
		if c.beat == nil || c.beat.want(time.Now()) {
			c.link.onward <- struct{}{}
		}
	case ended:
		if c.phase == ending {
			if what.code == websocket.CloseAbnormalClosure {
				c.closing.code = what.code
			}
			c.closed()
		} else {
			c.ended(what)
		}
	case frame:
		if c.phase == ending {
			return
		}
		if wrong := c.read(what); wrong != "" {
			c.close(websocket.CloseInvalidFramePayloadData, wrong, false, func() { c.failed(c.afterClose(1007), wrong, false) })
		}
	}
}

// read takes one frame, and says what is wrong with its bytes.
func (c *client) read(f frame) (wrong string) {
	head, blob := f.data, []byte(nil)
	if f.binary {
		ok := false
		if head, blob, ok = open(f.data); !ok {
			return "a binary frame without an envelope"
		}
	}
	if !utf8.Valid(head) || !json.Valid(head) {
		return "no JSON"
	}
	var in incoming
	if err := json.Unmarshal(head, &in); err != nil {
		return "JSON, but no frame of the protocol"
	}
	if c.phase == connecting {
		if in.Type == "welcome" {
			return c.welcomed(head)
		}
		return ""
	}
	if f.binary {
		c.chunk(in, blob)
	} else {
		c.take(in)
	}
	return ""
}

func (c *client) take(in incoming) {
	switch in.Type {
	case "message":
		c.message(in, in.Data)
	case "ack":
		failure := ""
		if !in.OK {
			if failure = in.Error; failure == "" {
				failure = "refused by the server"
			}
		}
		c.outbox.acknowledged(in.ID, failure)
	case "gap":
		c.tell(say{"event": "gap", "from": in.From, "to": in.To})
		c.session.received = max(c.session.received, in.To)
	case "ping":
		c.inbox.answers = append(c.inbox.answers, in.N)
	case "going_away":
		c.bound = in.RetryAfter.duration()
	}
}

// message delivers a sequence once.
func (c *client) message(in incoming, data json.RawMessage) {
	if in.Seq > c.session.received {
		c.inbox.take(message{in.Seq, in.Topic, data}, &c.session)
	}
}

// chunk puts a blob together; the application gets it as base64, since JSON has no bytes.
func (c *client) chunk(in incoming, blob []byte) {
	if in.Type != "message" || len(in.Chunk) != 2 {
		return
	}
	if in.Chunk[0] == 1 {
		c.inbox.blob = nil
	}
	c.inbox.blob = append(c.inbox.blob, blob...)
	if in.Chunk[0] == in.Chunk[1] {
		data, _ := json.Marshal(base64.StdEncoding.EncodeToString(c.inbox.blob))
		c.message(in, data)
		c.inbox.blob = nil
	}
}

// welcomed makes the connection ready.
func (c *client) welcomed(head []byte) (wrong string) {
	var w welcome
	if json.Unmarshal(head, &w) != nil || w.Session == "" {
		return "a welcome that is none"
	}
	now := time.Now()
	from := c.session.received + 1
	lost := c.session.welcomed(&w, c.known)
	c.phase, c.readyAt, c.looked, c.refused, c.known = ready, now, now, false, true
	c.beat, c.pacer = newHeartbeat(c.profile, now), newPacer(w.Rate, w.Burst, now)
	c.tell(say{"event": "ready", "recovered": w.Recovered})
	if lost {
		c.inbox.orphan()
		c.tell(say{"event": "gap", "from": from, "to": nil})
	}
	c.inbox.blob, c.inbox.answers, c.inbox.ackAt = nil, nil, now
	if w.MaxMessage > 0 {
		c.outbox.maxMessage = w.MaxMessage
	}
	if !w.Recovered {
		c.subs.restore(&c.outbox)
	}
	c.outbox.welcomed(w.LastID, refusals(w.Rejected))
	return ""
}

// pump hands the link the next frame, if it may have one: answers first, then acknowledgements, then the queue.
func (c *client) pump(now time.Time) {
	early := bug == flushBeforeWelcome && c.phase == connecting && c.isOpen // BUG flush-before-welcome
	if c.busy || !early && (c.phase != ready || c.beat.testing) {
		return
	}
	if early {
		c.pacer = newPacer(0, 100, now)
	}
	switch one, f := c.outbox.next(); {
	case c.phase == ready && len(c.inbox.answers) > 0:
		c.pacer.charge(now)
		c.hand(text(map[string]any{"type": "pong", "n": c.inbox.answers[0]}), nil)
		c.inbox.answers = c.inbox.answers[1:]
	case c.phase == ready && c.inbox.ackDue(&c.session, now) && c.pacer.take(now, 1):
		c.hand(text(map[string]any{"type": "ack", "seq": c.session.delivered}), nil)
		c.inbox.acked(&c.session)
	case one != nil && c.mayStart(one) && c.pacer.take(now, cost(f)):
		c.hand(f, one)
		c.outbox.took(one)
	}
}

// mayStart keeps the number of unacknowledged items in the pacer's window.
func (c *client) mayStart(one *item) bool {
	return one.started() || c.outbox.unacknowledged() < c.pacer.window()
}

func (c *client) hand(f frame, one *item) {
	c.busy, c.writing = true, one
	c.link.send(f)
}

// cost is what a message is charged: one for each frame that it is written in.
func cost(f frame) float64 { return float64(1 + len(f.data)/piece) }
