// A reliable WebSocket client in Go, written from protocol.md and subject.md, as a subject of `wschaos check`.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	url := os.Getenv("WSCHAOS_URL")
	if url == "" {
		fmt.Fprintln(os.Stderr, "WSCHAOS_URL is not set: start this by `wschaos check -- subject`")
		os.Exit(2)
	}
	figures, err := loadProfile(os.Getenv("WSCHAOS_PROFILE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	signal.Ignore(syscall.SIGPIPE) // whoever reads us may go first
	out := newVoice(os.Stdout)
	out.tell(hello{Event: "hello", Speaks: "wschaos.v1", Can: abilities, Profile: struct{}{}})
	orders := make(chan order)
	go listen(os.Stdin, orders)
	newClient(url, os.Getenv("WSCHAOS_TOKEN"), figures, out.tell).run(orders)
	out.flush()
}
