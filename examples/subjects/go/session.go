package main

import "encoding/json"

// session is what survives a connection: who we are to the server, and what came in.
type session struct {
	id, resumeToken string
	epoch           json.RawMessage
	received        int64 // last sequence
	delivered       int64 // last one that the application took
	acked           int64 // last one that the server was told of
}

type welcome struct {
	Session     string          `json:"session"`
	ResumeToken string          `json:"resume_token"`
	Epoch       json.RawMessage `json:"epoch"`
	Seq         int64           `json:"seq"`
	Recovered   bool            `json:"recovered"`
	LastID      int64           `json:"last_id"`
	MaxMessage  int             `json:"max_message"`
	Rate        float64         `json:"rate"`
	Burst       float64         `json:"burst"`
	Rejected    json.RawMessage `json:"rejected"`
}

// credentials is the first frame of a connection.
func (s *session) credentials(mode, token string) frame {
	fields := map[string]any{"type": "auth"}
	if mode == "first_message" {
		fields["token"] = token
	}
	if s.id != "" {
		fields["session"], fields["resume_token"] = s.id, s.resumeToken
		fields["epoch"], fields["seq"] = s.epoch, s.received
	}
	return text(fields)
}

// welcomed says whether continuity with what came in before is lost.
func (s *session) welcomed(w *welcome, known bool) (lost bool) {
	s.id, s.resumeToken, s.epoch = w.Session, w.ResumeToken, w.Epoch
	if w.Recovered {
		return false
	}
	s.received, s.delivered, s.acked = w.Seq, w.Seq, w.Seq
	return known
}

// forget makes the next connection start a fresh session.
func (s *session) forget() { s.id, s.resumeToken, s.epoch = "", "", nil }

// refusals reads `rejected`, a list of ids with errors.
func refusals(raw json.RawMessage) map[int64]string {
	var list []struct {
		ID    int64  `json:"id"`
		Error string `json:"error"`
	}
	json.Unmarshal(raw, &list)
	byID := map[int64]string{}
	for _, one := range list {
		byID[one.ID] = one.Error
	}
	return byID
}
