package main

import "slices"

// subscriptions are the topics that the application wants, in order; they belong to the session.
type subscriptions struct{ topics []string }

func (s *subscriptions) want(topic string) {
	if !slices.Contains(s.topics, topic) {
		s.topics = append(s.topics, topic)
	}
}

func (s *subscriptions) drop(topic string) {
	s.topics = slices.DeleteFunc(s.topics, func(other string) bool { return other == topic })
}

// settled takes a verdict: a topic that was refused, or left, is wanted no more.
func (s *subscriptions) settled(one *item, failure string) {
	if one.kind == "subscribe" && failure != "" {
		s.drop(one.topic)
	}
}

// restore puts one subscription for each topic before all that is queued. Those that are queued already
// are part of it, so that each goes out once; what was to be left is not there any more.
func (s *subscriptions) restore(o *outbox) {
	if bug == forgetSubscriptions { // BUG forget-subscriptions
		return
	}
	var first, rest []*item
	for _, topic := range s.topics {
		first = append(first, &item{kind: "subscribe", topic: topic})
	}
	for _, one := range o.handBack() {
		at := slices.IndexFunc(first, func(other *item) bool { return other.topic == one.topic })
		switch {
		case one.kind == "send":
			rest = append(rest, one)
		case one.kind == "subscribe" && at >= 0:
			first[at].refs = append(first[at].refs, one.refs...)
		default:
			o.settle(one, "")
		}
	}
	o.items = append(first, rest...)
}
