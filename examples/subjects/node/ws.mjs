// ws alone, as its README shows it: one connection, and nothing after it.
import WebSocket from "ws";
import { follow, hello, listen, send, url } from "./contract.mjs";

hello({ heartbeat: { interval: null }, close: { timeout: 30 } });

let client;
follow({
  connect() {
    client ??= new WebSocket(url);
    listen(client);
  },
  send: (command) => send(client, command),
  close: () => client.close(),
});
