package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// fragment is how much may lie ahead of a ping. A larger message is written as far, and the
// rest only when a ping behind it has been answered: buffers on the way take far more at once.
const fragment = 64 * 1024

// piece is the size of a frame that a larger message is written in, so that a ping finds its way between.
const piece = fragment / 4

// What a link tells the client.
type (
	opened   struct{}
	answered struct{ response *http.Response } // the handshake failed with an answer
	frame    struct {
		binary bool
		data   []byte
	}
	pinged  struct{ payload string }
	ponged  struct{ payload string }
	filled  struct{} // as much as may lie ahead of a ping is written
	written struct{}
	ended   struct {
		code   int  // 1006: it broke; 0: it never opened
		ours   bool // what the peer sent was wrong, and code was sent to it
		reason string
	}
)

type event struct {
	from *link
	what any
}

// link is one connection, from its first SYN: three goroutines that end with it.
type link struct {
	events       chan<- event
	closeTimeout time.Duration
	done         chan struct{}
	cancel       context.CancelFunc
	progress     atomic.Int64 // when an unfinished incoming message last grew, in Unix nanoseconds
	out          chan frame
	onward       chan struct{} // answers filled
	ahead        int           // bytes written since

	mu   sync.Mutex
	raw  net.Conn
	gone bool

	ws *websocket.Conn // once opened
}

func dial(url string, header http.Header, figures *profile, events chan<- event) *link {
	ctx, cancel := context.WithTimeout(context.Background(), figures.Reconnect.OpenTimeout.duration())
	l := &link{
		events: events, closeTimeout: figures.Close.Timeout.duration(),
		done: make(chan struct{}), cancel: cancel, out: make(chan frame, 1), onward: make(chan struct{}, 1),
	}
	go l.live(ctx, url, header, int64(figures.Message.MaxSize))
	return l
}

func (l *link) tell(what any) {
	select {
	case l.events <- event{l, what}:
	case <-l.done:
	}
}

func (l *link) live(ctx context.Context, url string, header http.Header, limit int64) {
	dialer := websocket.Dialer{
		Subprotocols:   []string{"wschaos.v1"},
		ReadBufferSize: fragment, WriteBufferSize: piece,
		NetDialContext: l.connect,
	}
	ws, response, err := dialer.DialContext(ctx, url, header)
	if err != nil {
		if errors.Is(err, websocket.ErrBadHandshake) && response != nil {
			l.tell(answered{response})
			return
		}
		l.tell(ended{reason: err.Error()})
		return
	}
	l.ws = ws
	ws.SetReadLimit(limit)
	ws.SetPingHandler(func(payload string) error { l.tell(pinged{payload}); return nil })
	ws.SetPongHandler(func(payload string) error { l.tell(ponged{payload}); return nil })
	l.tell(opened{})
	go l.write()
	l.read()
}

// connect opens the TCP connection; the heartbeat alone finds a dead link.
func (l *link) connect(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		raw.Close()
		return nil, net.ErrClosed
	}
	l.raw = raw
	return raw, nil
}

func (l *link) read() {
	for {
		kind, reader, err := l.ws.NextReader()
		var data []byte
		if err == nil {
			data, err = l.readAll(reader)
		}
		if err != nil {
			l.tell(l.classify(err))
			return
		}
		l.tell(frame{kind == websocket.BinaryMessage, data})
	}
}

// readAll reads one message; from its second piece on it is an unfinished one that makes progress.
func (l *link) readAll(reader io.Reader) ([]byte, error) {
	var all bytes.Buffer
	part := make([]byte, 2*piece)
	for {
		n, err := reader.Read(part)
		if n > 0 && all.Len() > 0 {
			l.progress.Store(time.Now().UnixNano())
		}
		all.Write(part[:n])
		if err == io.EOF {
			return all.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// classify says how a connection ended. The library answers what breaks RFC 6455 with 1002 or 1009 by itself;
// it takes 1014 for such a breach, which it is not.
func (l *link) classify(err error) ended {
	var closed *websocket.CloseError
	var bad int
	if n, _ := fmt.Sscanf(err.Error(), "websocket: bad close code %d", &bad); n == 1 && bad == 1014 {
		return ended{code: bad}
	}
	switch {
	case errors.As(err, &closed):
		return ended{code: closed.Code, reason: closed.Text}
	case errors.Is(err, websocket.ErrReadLimit):
		l.drain()
		return ended{code: websocket.CloseMessageTooBig, ours: true, reason: err.Error()}
	case strings.HasPrefix(err.Error(), "websocket: "):
		l.drain()
		return ended{code: websocket.CloseProtocolError, ours: true, reason: err.Error()}
	}
	return ended{code: websocket.CloseAbnormalClosure, reason: err.Error()}
}

// drain waits for the peer to hang up, so that what was sent last is not lost to a reset.
func (l *link) drain() {
	l.raw.SetReadDeadline(time.Now().Add(l.closeTimeout))
	io.Copy(io.Discard, l.raw)
}

func (l *link) write() {
	for {
		select {
		case <-l.done:
			return
		case f := <-l.out:
			l.writeAll(f)
			l.tell(written{})
		}
	}
}

// writeAll ignores errors: what breaks a write breaks the read, which knows the close code.
func (l *link) writeAll(f frame) {
	kind := websocket.TextMessage
	if f.binary {
		kind = websocket.BinaryMessage
	}
	writer, err := l.ws.NextWriter(kind)
	if err != nil {
		return
	}
	for rest := f.data; len(rest) > 0; {
		part := rest[:min(len(rest), fragment-l.ahead)]
		if _, err := writer.Write(part); err != nil {
			return
		}
		rest, l.ahead = rest[len(part):], l.ahead+len(part)
		if l.ahead == fragment && !l.proven() {
			return
		}
	}
	writer.Close()
}

// proven waits until all that was written is known to have gone through; false: the link has ended.
func (l *link) proven() bool {
	l.ahead = 0
	l.tell(filled{})
	select {
	case <-l.onward:
		return true
	case <-l.done:
		return false
	}
}

// send hands one frame to the writer; the next one may follow when it is told as written.
func (l *link) send(f frame) { l.out <- f }

// control writes a ping, pong or close, between the fragments of a message.
func (l *link) control(kind int, payload []byte) {
	go l.ws.WriteControl(kind, payload, time.Time{})
}

func (l *link) ping(payload string) { l.control(websocket.PingMessage, []byte(payload)) }

func (l *link) close(code int, reason string) {
	l.control(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason))
}

func (l *link) lastProgress() time.Time { return time.Unix(0, l.progress.Load()) }

// abort ends the connection at once, with nothing more to the peer than the end itself.
func (l *link) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	close(l.done)
	l.cancel()
	if l.raw != nil {
		l.raw.Close()
	}
}
