package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

type seconds float64

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// profile holds the figures of spec.md that bind a client.
type profile struct {
	Reconnect struct {
		MaxRetries  *int    `json:"max_retries"` // none: for ever
		OpenTimeout seconds `json:"open_timeout"`
	} `json:"reconnect"`
	Backoff struct {
		Base             seconds  `json:"base"`
		Factor           float64  `json:"factor"`
		Cap              seconds  `json:"cap"`
		StableAfter      seconds  `json:"stable_after"`
		HonourRetryAfter bool     `json:"honour_retry_after"`
		FirstLow         *seconds `json:"first_low"`
		FirstHigh        *seconds `json:"first_high"`
	} `json:"backoff"`
	Jitter struct {
		Shape string  `json:"shape"`
		Low   float64 `json:"low"`
		High  float64 `json:"high"`
	} `json:"jitter"`
	Heartbeat struct {
		Interval *seconds `json:"interval"` // none: no pings
		Deadline seconds  `json:"deadline"`
	} `json:"heartbeat"`
	State struct {
		HighWater int `json:"high_water"`
		LowWater  int `json:"low_water"`
	} `json:"state"`
	Replay struct {
		QueueMessages int `json:"queue_messages"`
		QueueBytes    int `json:"queue_bytes"`
	} `json:"replay"`
	Auth struct {
		Mode string `json:"mode"`
	} `json:"auth"`
	Close struct {
		Timeout   seconds        `json:"timeout"`
		Reactions map[int]string `json:"reactions"`
	} `json:"close"`
	Message struct {
		MaxSize int `json:"max_size"`
		Chunk   int `json:"chunk"`
	} `json:"message"`
}

// The default profile; `wschaos profile --schema` describes every figure.
const defaults = `{
	"reconnect": {"max_retries": 10, "open_timeout": 10},
	"backoff": {"base": 1, "factor": 2, "cap": 30, "stable_after": 10, "honour_retry_after": true},
	"jitter": {"shape": "uniform", "low": 0.5, "high": 1.5},
	"heartbeat": {"interval": 30, "deadline": 10},
	"state": {"high_water": 1048576, "low_water": 262144},
	"replay": {"queue_messages": 1000, "queue_bytes": 1048576},
	"auth": {"mode": "first_message"},
	"close": {"timeout": 5, "reactions": {
		"1000": "stop", "1001": "retry", "1002": "fatal", "1003": "fatal", "1005": "retry", "1006": "retry",
		"1007": "fatal", "1008": "fatal", "1009": "drop", "1010": "stop", "1011": "retry", "1012": "retry",
		"1013": "later", "1014": "retry", "4400": "fatal", "4401": "refresh", "4403": "fatal", "4408": "retry",
		"4409": "stop", "4410": "fresh", "4429": "later"}},
	"message": {"max_size": 1048576, "chunk": 65536}
}`

func loadProfile(path string) (*profile, error) {
	figures := new(profile)
	if err := json.Unmarshal([]byte(defaults), figures); err != nil {
		return nil, err
	}
	if path == "" {
		return figures, nil
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, figures)
	}
	if err != nil {
		return nil, fmt.Errorf("WSCHAOS_PROFILE: %w", err)
	}
	return figures, nil
}
