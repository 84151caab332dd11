package main

import "time"

// pacer keeps all that is sent under the rate that the server's welcome names.
type pacer struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

// newPacer stays a tenth below both: clocks differ, and the credentials were charged already.
func newPacer(rate, burst float64, now time.Time) *pacer {
	rate, burst = rate*0.9, max(1, burst*0.9-1)
	return &pacer{rate, burst, burst, now}
}

func (p *pacer) refill(now time.Time) {
	p.tokens = min(p.burst, p.tokens+p.rate*now.Sub(p.at).Seconds())
	p.at = now
}

// charge takes what a control frame costs, which goes out in any case.
func (p *pacer) charge(now time.Time) {
	p.refill(now)
	p.tokens--
}

// take says whether so many frames may go out now, and takes them.
func (p *pacer) take(now time.Time, frames float64) bool {
	p.refill(now)
	if p.rate > 0 && p.tokens < min(frames, p.burst) {
		return false
	}
	p.tokens -= frames
	return true
}

// wake is when so many frames may go out.
func (p *pacer) wake(frames float64) time.Time {
	return p.at.Add(seconds((min(frames, p.burst)-p.tokens)/p.rate).duration() + time.Millisecond)
}

// window is how many sends may be unacknowledged: a link that stalls delivers them in one burst.
func (p *pacer) window() int {
	if p.rate <= 0 {
		return 1 << 30
	}
	return int(max(1, p.burst*0.8))
}
