// A node server without a framework. It says who logged in with one response header and keeps no sessions.
const http = require("node:http");

const passwords = { ann: "correct horse battery" };

http.createServer((request, response) => {
  const body = [];
  request.on("data", (chunk) => body.push(chunk));
  request.on("end", () => {
    if (request.method === "POST" && request.url === "/login") {
      const form = new URLSearchParams(Buffer.concat(body).toString());
      if (passwords[form.get("name")] !== form.get("password")) {
        response.writeHead(200, { "Content-Type": "text/html" }).end("wrong");
        return;
      }
      response.writeHead(200, { "Content-Type": "text/html", "X-Session-User": "ann-7" });
      response.end("welcome");
      return;
    }
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.rawHeaders }));
  });
}).listen(Number(process.argv[2]), "127.0.0.1");
