// Node's `ws`, as its manual shows a broadcast: /echo, and rooms by path.
//
//   node ws_app.js [PORT]      port 0, the default, is chosen and printed
'use strict'

const { createServer } = require('http')
const { WebSocketServer, WebSocket } = require('ws')

const rooms = new Map() // name → the sockets in it
const server = createServer()
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 1 << 20 })

sockets.on('connection', (socket, request) => {
  socket.on('error', () => {}) // a `close` follows
  if (request.url === '/echo') {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    return
  }
  const name = request.url
  const members = rooms.get(name) ?? new Set()
  rooms.set(name, members.add(socket))
  socket.on('message', (data, isBinary) => {
    for (const member of members) {
      if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary })
    }
  })
  socket.on('close', () => {
    members.delete(socket)
    if (members.size === 0) rooms.delete(name)
  })
})

// The backlog: Node asks for 511, and a burst of handshakes is part of what is measured.
server.listen({ port: Number(process.argv[2] ?? 0), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`)
})
