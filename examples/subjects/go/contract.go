package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// What the subject says and is told: one JSON object a line.

var abilities = []string{"send", "subscribe", "resume", "token", "pause", "reconnect", "chunks"}

type hello struct {
	Event   string   `json:"event"`
	Speaks  string   `json:"speaks"`
	Can     []string `json:"can"`
	Profile struct{} `json:"profile"`
}

type say map[string]any

type order struct {
	Do    string          `json:"do"`
	Ref   string          `json:"ref"`
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
	Size  int             `json:"size"`
	Token string          `json:"token"`
	Times int             `json:"times"`
}

// listen passes on what standard input says; its end closes orders.
func listen(from io.Reader, orders chan<- order) {
	defer close(orders)
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			var one order
			if wrong := json.Unmarshal(line, &one); wrong != nil {
				fmt.Fprintln(os.Stderr, "not an order:", wrong)
			} else {
				orders <- one
			}
		}
		if err != nil {
			return
		}
	}
}

// voice writes events in a goroutine of its own: a slow reader of ours must not stop the heartbeat.
type voice struct {
	lines chan []byte
	done  chan struct{}
}

func newVoice(to io.Writer) *voice {
	v := &voice{make(chan []byte, 1<<16), make(chan struct{})}
	go func() {
		defer close(v.done)
		for line := range v.lines {
			to.Write(line)
		}
	}()
	return v
}

func (v *voice) tell(event any) { v.lines <- encode(event) }

func (v *voice) flush() {
	close(v.lines)
	<-v.done
}
