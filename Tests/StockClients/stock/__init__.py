"""Stock Socket.IO clients, unmodified, against the real server.

Python's `socketio.Client` and `socketio.AsyncClient`, and the browser bundle `socket.io.min.js` in
headless Chromium, each by polling, by WebSocket, and by the default: polling, then the upgrade.
They speak as the existing families of clients do (root, ns) and in v1; to one server, and to a
fleet of three behind a HAProxy that deals requests out in turn. Run, in Tests/StockClients:

    VENV/bin/python -m stock --martlet PATH [--only PATTERN] [--chromium PATH]

VENV is a virtual environment with all of requirements.txt, which is whole but for what nicegui
needs: of nicegui only the bundle is wanted, and it is never imported.

    python3 -m venv VENV
    VENV/bin/pip install --no-deps -r requirements.txt
    apt-get install --no-install-recommends chromium haproxy postgresql redis-server

Where a client or a program is missing its tests fail. The tests start servers of their own on free
ports and in temporary folders, and end what they started. The last line is `N passed, N failed`.

In reading order: stage.py (what a test is given), clients.py, python_clients.py and browser.py (the
stock clients behind one face), then the tests: connection_tests.py, root_tests.py, ns_tests.py,
v1_tests.py, browser_tests.py, relay_tests.py. Of fleets: fleet.py, services.py (what they stand
on), balancer.py, traffic.py, then fleet_tests.py and fleet_failure_tests.py.
"""
