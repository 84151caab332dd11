// The npm package `ws` at its defaults: an echo at any path, health at /healthz.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((request, response) => {
  response.writeHead(request.url === "/healthz" ? 200 : 404).end();
});
const wss = new WebSocketServer({ server: http });

wss.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", console.error);
});
http.listen(Number(process.env.WSCHAOS_PORT), "127.0.0.1");
