package main

import (
	"math"
	"math/rand/v2"
	"time"
)

// backoff counts consecutive failures and draws the wait before each retry.
type backoff struct {
	figures  *profile
	failures int
	previous float64 // seconds, for the decorrelated shape
}

func (b *backoff) clear() { b.failures, b.previous = 0, 0 }

// failed counts one more; false when the retries are exhausted.
func (b *backoff) failed() bool {
	b.failures++
	limit := b.figures.Reconnect.MaxRetries
	return limit == nil || b.failures <= *limit
}

// wait is how long to wait before the retry that has just been counted. later: one step further.
// atLeast is a bound of the server's: a wait below it is added to it, so that clients stay spread.
func (b *backoff) wait(later bool, atLeast time.Duration) time.Duration {
	retry := b.failures
	if later {
		retry++
	}
	drawn := seconds(b.draw(retry)).duration()
	if drawn < atLeast {
		drawn += atLeast
	}
	return drawn
}

func (b *backoff) draw(retry int) float64 {
	f := b.figures.Backoff
	if retry == 1 && f.FirstLow != nil && f.FirstHigh != nil {
		return between(float64(*f.FirstLow), float64(*f.FirstHigh))
	}
	nominal := math.Min(float64(f.Cap), float64(f.Base)*math.Pow(f.Factor, float64(retry-1)))
	switch b.figures.Jitter.Shape {
	case "full":
		return between(0, nominal)
	case "equal":
		return between(nominal/2, nominal)
	case "decorrelated":
		b.previous = math.Min(float64(f.Cap), between(float64(f.Base), 3*math.Max(b.previous, float64(f.Base))))
		return b.previous
	case "none":
		return nominal
	}
	return nominal * between(b.figures.Jitter.Low, b.figures.Jitter.High)
}

func between(low, high float64) float64 { return low + (high-low)*rand.Float64() }
