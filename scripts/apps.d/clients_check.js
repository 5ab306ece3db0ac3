// What node's fetch and the ws package see through the gateway: one line of JSON.
const WebSocket = require(process.argv[4])
const [url, token] = process.argv.slice(2)
const headers = {Authorization: `Bearer ${token}`}

function talk(headers) {
  return new Promise(resolve => {
    const seen = []
    const socket = new WebSocket(url.replace(/^http/, "ws") + "/ws", {headers})
    socket.on("open", () => socket.send(Buffer.alloc(200000, 7)))
    socket.on("message", (data, binary) => {
      seen.push(binary ? data.length : data.toString())
      if (seen.length === 2) socket.close(1000)
    })
    socket.on("close", code => resolve({seen, code}))
    socket.on("unexpected-response", (_, response) => {
      resolve({status: response.statusCode})
      response.destroy()
    })
    socket.on("error", () => {})
  })
}

async function main() {
  const without = await fetch(url + "/x", {headers: {}})
  const answer = await fetch(url + "/x", {method: "POST", headers, body: "a".repeat(100000)})
  const events = await (await fetch(url + "/events", {headers})).text()
  console.log(JSON.stringify({
    without: without.status,
    answer: await answer.json(),
    events: events.match(/data/g).length,
    socket: await talk({...headers, "User-Agent": "node"}),
    refused: await talk({}),
  }))
}

main()
