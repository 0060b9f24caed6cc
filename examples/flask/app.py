"""One page that says hello and names the container that serves it."""

import os
import socket

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    page = "<h3>Hello {name}!</h3><b>Hostname:</b> {hostname}<br/>"
    return page.format(name=os.getenv("NAME", "world"), hostname=socket.gethostname())


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=80)
