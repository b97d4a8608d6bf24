"""Runs inside a machine under test, as a service: does what the test outside asks for.

    boot_agent.py SOCKET

A connection carries one line of JSON: {"command": […], "timeout": seconds}. The answer is one line
with "returncode", "stdout" and "stderr". Only the standard library is there.
"""

import json
import socketserver
import subprocess
import sys


class _Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        try:
            done = subprocess.run(
                request["command"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=request["timeout"],
                check=False,
            )
            code, stdout, stderr = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            code, stdout = 124, error.stdout or b""
            stderr = (error.stderr or b"") + b"\nstill at work after the time allowed\n"
        answer = {
            "returncode": code,
            "stdout": stdout.decode(errors="replace"),
            "stderr": stderr.decode(errors="replace"),
        }
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    _Server(sys.argv[1], _Request).serve_forever()
