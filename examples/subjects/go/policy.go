package main

import (
	"net/http"
	"strconv"
	"time"
)

// What a client does after an end; the names are those of a profile's `close.reactions`.
const (
	stop    = "stop"    // stay closed
	retry   = "retry"   // reconnect by backoff
	later   = "later"   // the same, one step further
	fatal   = "fatal"   // surface, stay closed
	refresh = "refresh" // retry once with a new token
	fresh   = "fresh"   // retry with a new session
	drop    = "drop"    // surface the largest message, retry without it
)

func (p *profile) afterClose(code int) string {
	if reaction, known := p.Close.Reactions[code]; known {
		return reaction
	}
	if 4500 <= code && code <= 4999 {
		return fatal
	}
	return retry
}

// afterAnswer is for a handshake that was answered, but not by an upgrade.
func afterAnswer(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return refresh
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return retry
	case 300 <= status && status <= 499:
		return fatal
	}
	return retry
}

// retryAfter is the lower bound that a 503 or 429 names, in seconds or as a date.
func retryAfter(answer *http.Response) time.Duration {
	if answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	value := answer.Header.Get("Retry-After")
	if n, err := strconv.ParseFloat(value, 64); err == nil && n > 0 && n < 1e6 {
		return seconds(n).duration()
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}
