package main

import (
	"encoding/json"
	"slices"
)

// item is one message of the application on its way to an acknowledgement.
type item struct {
	kind   string // send, subscribe, unsubscribe
	topic  string
	data   json.RawMessage
	blob   []byte // sent in chunks, in place of data
	refs   []string
	id     int64 // 0: not written yet
	chunks int   // how many went out
	size   int   // bytes, of the whole
	queued int   // bytes that were not handed to the network
}

func (i *item) started() bool { return i.id != 0 }

// outbox keeps what was accepted until it is acknowledged. Ids are given when an item is first written.
type outbox struct {
	figures    *profile
	maxMessage int
	items      []*item
	nextID     int64
	full       bool // above the high mark, and not yet below the low one
	settle     func(one *item, failure string)
}

func (o *outbox) put(one *item) {
	one.size = len(one.blob)
	if one.blob == nil {
		one.size = len(o.whole(one, 1<<53).data) // an id as long as they get
	}
	one.queued = one.size
	if failure := o.refusal(one); failure != "" {
		o.settle(one, failure)
		return
	}
	o.items = append(o.items, one)
}

func (o *outbox) refusal(one *item) string {
	buffered, kept := o.buffered(), 0
	for _, other := range o.items {
		kept += other.size
	}
	o.full = buffered > o.figures.State.HighWater || o.full && buffered >= o.figures.State.LowWater
	switch {
	case one.blob == nil && one.size > o.maxMessage:
		return "larger than the server takes"
	case o.full, len(o.items) >= o.figures.Replay.QueueMessages:
		return "the queue is full"
	case len(o.items) > 0 && kept+one.size > o.figures.Replay.QueueBytes:
		return "the queue is full"
	}
	return ""
}

// buffered is the bytes accepted and not yet handed to the network.
func (o *outbox) buffered() (bytes int) {
	for _, one := range o.items {
		bytes += one.queued
	}
	return bytes
}

// unacknowledged counts what is on its way.
func (o *outbox) unacknowledged() (n int) {
	for _, one := range o.items {
		if one.started() {
			n++
		}
	}
	return n
}

// next is the next frame to write and the item that it is of; nil: none.
func (o *outbox) next() (*item, frame) {
	for _, one := range o.items {
		switch {
		case one.blob == nil && !one.started():
			return one, o.whole(one, o.nextID)
		case one.blob != nil && one.chunks < o.chunksOf(one):
			id := one.id
			if !one.started() {
				id = o.nextID
			}
			return one, o.chunk(one, id)
		}
	}
	return nil, frame{}
}

// took marks what next gave as written.
func (o *outbox) took(one *item) {
	if !one.started() {
		one.id = o.nextID
		o.nextID++
	}
	if one.blob != nil {
		one.chunks++
	}
}

// handed marks bytes of an item as the network's.
func (o *outbox) handed(one *item) {
	one.queued = 0
	if one.blob != nil {
		one.queued = max(0, one.size-one.chunks*o.figures.Message.Chunk)
	}
}

func (o *outbox) whole(one *item, id int64) frame {
	fields := map[string]any{"type": one.kind, "id": id, "topic": one.topic}
	if one.kind == "send" {
		fields["data"] = one.data
	}
	return text(fields)
}

func (o *outbox) chunksOf(one *item) int {
	return max(1, (len(one.blob)+o.figures.Message.Chunk-1)/o.figures.Message.Chunk)
}

func (o *outbox) chunk(one *item, id int64) frame {
	from := one.chunks * o.figures.Message.Chunk
	to := min(len(one.blob), from+o.figures.Message.Chunk)
	number := []int{one.chunks + 1, o.chunksOf(one)}
	header := map[string]any{"type": "send", "id": id, "topic": one.topic, "chunk": number}
	return envelope(header, one.blob[from:to])
}

// acknowledged settles an id by the server's verdict.
func (o *outbox) acknowledged(id int64, failure string) {
	for at, one := range o.items {
		if one.started() && one.id == id {
			o.items = slices.Delete(o.items, at, at+1)
			o.settle(one, failure)
			return
		}
	}
}

// welcomed settles what the server has processed; the rest goes out (again), renumbered from there.
// In an unbroken session that gives each the id that it had.
func (o *outbox) welcomed(lastID int64, rejected map[int64]string) {
	for _, one := range slices.Clone(o.items) {
		if one.started() && one.id <= lastID {
			o.acknowledged(one.id, rejected[one.id])
		}
	}
	o.nextID = lastID + 1
	for _, one := range o.items {
		one.id, one.chunks, one.queued = 0, 0, one.size
	}
}

// dropLargest gives up the largest message that the server may have seen.
func (o *outbox) dropLargest(failure string) {
	largest := -1
	for at, one := range o.items {
		if one.started() && (largest < 0 || one.size > o.items[largest].size) {
			largest = at
		}
	}
	if largest >= 0 {
		one := o.items[largest]
		o.items = slices.Delete(o.items, largest, largest+1)
		o.settle(one, failure)
	}
}

// fail settles all that is left as failed.
func (o *outbox) fail(failure string) {
	for _, one := range o.handBack() {
		o.settle(one, failure)
	}
}

// handBack empties the outbox.
func (o *outbox) handBack() []*item {
	items := o.items
	o.items, o.full = nil, false
	return items
}
