"""An application for clients of all kinds: it tells what it saw, echoes WebSockets, and has a login page with a script."""

import asyncio
import sys

from aiohttp import WSMsgType, web

LOGIN = "<form method=post action=/login><input name=username value=ann></form><script>document.forms[0].submit()</script>"
# What the browser found out goes to /report, where whoever started it reads it.
PAGE = """<script>
const seen = [], socket = new WebSocket(location.href.replace(/^http/, "ws").replace("/page", "/ws"))
const tell = text => fetch("/report", {method: "POST", body: text})
socket.onopen = () => socket.send("hello")
socket.onmessage = message => { seen.push(message.data); if (seen.length === 2) tell(seen.join(" ")) }
socket.onclose = close => tell(`closed ${close.code} ${close.reason}`)
</script>"""
reports = asyncio.Queue()


async def seen(request):
    body = await request.read()
    return web.json_response(
        {
            "user": request.headers.get("X-Auth-User"),
            "method": request.method,
            "path": request.path_qs,
            "length": len(body),
            "proto": request.headers.get("X-Forwarded-Proto"),
            "authorization": request.headers.get("Authorization"),
        }
    )


async def login(request):
    if request.method == "GET":
        return web.Response(text=LOGIN, content_type="text/html")
    form = await request.post()
    return web.Response(status=303, headers={"Location": "/page", "X-Session-User": form["username"]})


async def page(_):
    return web.Response(text=PAGE, content_type="text/html")


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str(f"you are {request.headers.get('X-Auth-User')}")
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(3):
        await response.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(0.05)
    return response


async def report(request):
    if request.method == "POST":
        await reports.put(await request.text())
        return web.Response(status=204)
    return web.Response(text=await asyncio.wait_for(reports.get(), 30))


app = web.Application(client_max_size=64 * 1024 * 1024)
app.router.add_route("*", "/login", login)
app.router.add_get("/page", page)
app.router.add_get("/ws", echo)
app.router.add_get("/events", events)
app.router.add_route("*", "/report", report)
app.router.add_route("*", "/{rest:.*}", seen)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
