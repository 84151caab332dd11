// sockette at its defaults: 1 s before each retry, for ever; not after 1000, 1001 and 1005.
import Sockette from "sockette";
import WebSocket from "ws";
import { follow, hello, say, send, url } from "./contract.mjs";

globalThis.WebSocket = WebSocket; // it is written for browsers

hello({
  reconnect: { max_retries: null },
  backoff: { base: 1, factor: 1, cap: 1, ceiling: 1, stable_after: 0, honour_retry_after: false },
  jitter: { shape: "none" },
  heartbeat: { interval: null },
  close: { timeout: 30 }, // of ws, below it
}, ["send", "reconnect"]);

let client;
follow({
  connect() {
    client ??= new Sockette(url, {
      onopen: () => say("ready", { recovered: false }),
      onreconnect: () => say("connecting"),
      onmessage: (event) => say("message", { data: String(event.data) }),
      onclose: (event) => say("closed", { code: event.code, reason: event.reason ?? "" }),
      onmaximum: () => say("gave_up", { error: "the maximum of attempts", undelivered: [] }),
      onerror: () => {},
    });
  },
  send: (command) => send(client, command),
  reconnect: () => client.reconnect(),
  close: () => client.close(),
});
