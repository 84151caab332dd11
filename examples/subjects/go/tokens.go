package main

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// tokens is the provider that is asked before every connection.
type tokens struct {
	current string
	failing int // how many times it still fails
	first   string
}

func (t *tokens) fetch() (string, error) {
	if t.failing > 0 {
		t.failing--
		return "", errors.New("the token provider failed")
	}
	if bug == oldToken { // BUG old-token
		if t.first == "" {
			t.first = t.current
		}
		return t.first, nil
	}
	return t.current, nil
}

// present puts a token where the mode wants it before the first frame.
func present(mode, token, address string) (string, http.Header) {
	header := http.Header{}
	switch mode {
	case "query":
		if parsed, err := url.Parse(address); err == nil {
			query := parsed.Query()
			query.Set("token", token)
			parsed.RawQuery = query.Encode()
			address = parsed.String()
		}
	case "cookie":
		header.Set("Cookie", "wschaos_token="+token)
	case "header":
		header.Set("Authorization", "Bearer "+token)
	}
	return address, header
}

// redact keeps a token out of what is told.
func redact(reason, token string) string {
	if token == "" {
		return reason
	}
	reason = strings.ReplaceAll(reason, url.QueryEscape(token), "[redacted]")
	return strings.ReplaceAll(reason, token, "[redacted]")
}
