"""Socket.IO by python-socketio, as an ASGI application for uvicorn.

    uvicorn socketio_app:app

In: `join NAME` puts the socket into that room. `msg TEXT` goes to all in the room of its sender,
the sender as well, as `msg TEXT`; of a sender in no room only back to it (echo).
"""

import socketio

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", transports=["websocket"],
                              logger=False, engineio_logger=False)
app = socketio.ASGIApp(server)
room_of = {}


@server.event
async def join(sid, name):
    room_of[sid] = name
    await server.enter_room(sid, name)


@server.event
async def msg(sid, text):
    await server.emit("msg", text, to=room_of.get(sid, sid))


@server.event
async def disconnect(sid, reason):
    room_of.pop(sid, None)
