// rxjs: webSocket(), with retry({ delay: 1000 }), as its documentation suggests: 1 s before each retry, for ever.
import { retry } from "rxjs";
import { webSocket } from "rxjs/webSocket";
import WebSocket from "ws";
import { follow, hello, say, url } from "./contract.mjs";

hello({
  reconnect: { max_retries: null },
  backoff: { base: 1, factor: 1, cap: 1, ceiling: 1, stable_after: 0, honour_retry_after: false },
  jitter: { shape: "none" },
  heartbeat: { interval: null },
  close: { timeout: 30 }, // of ws, below it
});

const subject = webSocket({
  url,
  WebSocketCtor: WebSocket,
  openObserver: { next: () => say("ready", { recovered: false }) },
  closeObserver: { next: (event) => say("closed", { code: event.code, reason: event.reason ?? "" }) },
});

let subscription;
follow({
  connect() {
    subscription ??= subject.pipe(retry({ delay: 1000 })).subscribe({
      next: (data) => say("message", { data }),
      error: (error) => say("gave_up", { error: String(error?.message ?? error), undelivered: [] }),
      complete: () => say("gave_up", { error: "the stream is complete", undelivered: [] }),
    });
  },
  send: (command) => subject.next(command.data),
  close: () => subscription?.unsubscribe(),
});
