// reconnecting-websocket at its defaults: 1 to 5 s before the first retry, drawn once for the process, each 1.3 times
// the one before, to 10 s; for ever. An attempt may take 4 s; a connection that was open for 5 s starts the count anew.
import module from "reconnecting-websocket";
import WebSocket from "ws";
import { follow, hello, listen, send, url } from "./contract.mjs";

const ReconnectingWebSocket = module.default ?? module;

hello({
  reconnect: { max_retries: null, open_timeout: 4 },
  backoff: { base: 3, factor: 1.3, cap: 10, ceiling: 10, stable_after: 5, honour_retry_after: false },
  jitter: { shape: "uniform", low: 1 / 3, high: 5 / 3 },
  heartbeat: { interval: null },
  close: { timeout: 30 }, // of ws, below it
}, ["send", "reconnect"]);

let client;
follow({
  connect() {
    client ??= new ReconnectingWebSocket(url, [], { WebSocket });
    listen(client);
  },
  send: (command) => send(client, command),
  reconnect: () => client.reconnect(),
  close: () => client.close(),
});
