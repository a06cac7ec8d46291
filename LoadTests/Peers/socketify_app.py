"""uWebSockets through socketify: /echo, and rooms by path through uWebSockets' own topics, so that
the frames of one tick leave a connection joined in one write.

    python socketify_app.py PORT

The HTTP and WebSocket work, the topics and the loop are native (C++, libuv). What a handler below
does is Python: one call a message, not one a delivery. So fan-out shows uWebSockets; echo shows
what a Python call costs on top.
"""

import sys

from socketify import App, AppListenOptions, OpCode

# Nobody is dropped or timed out here: all servers are asked to deliver everything.
COMMON = {
    "compression": 0,
    "max_payload_length": 1 << 20,
    "idle_timeout": 0,
    "max_backpressure": 64 << 20,
    "send_pings_automatically": False,
}


def echo(ws, message, opcode):
    ws.send(message, opcode)


def upgrade_to_room(res, req, socket_context):
    res.upgrade(req.get_header("sec-websocket-key"), req.get_header("sec-websocket-protocol"),
                req.get_header("sec-websocket-extensions"), socket_context,
                req.get_parameter(0))


def enter_room(ws):
    ws.subscribe(ws.get_user_data())


def publish(ws, message, opcode):
    # To all subscribers of the topic, the sender as well.
    app.publish(ws.get_user_data(), message, opcode)


app = App()
app.ws("/echo", {**COMMON, "message": echo})
app.ws("/room/:name", {**COMMON, "upgrade": upgrade_to_room, "open": enter_room,
                       "message": publish})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"),
           lambda config: print(f"listening on 127.0.0.1:{config.port}", flush=True))
# Not app.run(): it turns asyncio's loop, which polls the native one without end. Nothing here is
# asynchronous Python, so the native loop runs alone and sleeps when there is nothing to do.
app.loop.uv_loop.run()
