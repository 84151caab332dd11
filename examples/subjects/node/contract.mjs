// What the subjects in JavaScript share: the contract's standard input and output.
import { createInterface } from "node:readline";

export const url = process.env.WSCHAOS_ECHO_URL;

export function say(event, fields = {}) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");
}

// The first line; `profile` holds the figures that differ from the default ones.
export function hello(profile, can = ["send"]) {
  say("hello", { speaks: "raw", can, profile: { auth: { mode: "none" }, replay: { delivery: "at-most-once" }, ...profile } });
}

// Calls `does[what](command)` for each command, until "exit".
export function follow(does) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const command = JSON.parse(line);
    if (command.do === "exit") process.exit(0);
    does[command.do]?.(command);
  });
  lines.on("close", () => process.exit(0));
}

// Sends on a client that may throw; none of these libraries knows what becomes of a message.
export function send(client, command) {
  try {
    client.send(JSON.stringify(command.data));
  } catch (error) {
    say("settled", { ref: command.ref, ok: false, error: String(error) });
  }
}

// What an application hears of a client with the events of a browser's WebSocket.
export function listen(client) {
  client.addEventListener("open", () => say("ready", { recovered: false }));
  client.addEventListener("message", (event) => say("message", { data: String(event.data) }));
  client.addEventListener("close", (event) => say("closed", { code: event.code, reason: event.reason ?? "" }));
  client.addEventListener("error", () => {});
}
