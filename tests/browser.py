"""A headless Chromium that tests talk to by its own protocol, through a pipe; needs Debian's `chromium`."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

import pytest

SECONDS = 120.0  # most that an answer may take on a busy machine
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--mute-audio", "--remote-debugging-pipe"),
)
ENDED = b"\0"


class Browser:
    """One page. `events` are what it told of itself: (method, parameters)."""

    def __init__(self, profile):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            pytest.skip("chromium is not installed")
        ours, theirs = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4.
        line = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        words = [
            "bash",
            "-c",
            line,
            "-",
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            words,
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._bytes, self._count, self._session, self.events = b"", 0, None, []
        targets = self.do("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.do("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method, **parameters):
        """Give the answer to a command. Raises AssertionError for an error."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + ENDED)
        while (answer := self._read()).get("id") != self._count:
            self.events.append((answer.get("method"), answer.get("params")))
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path, width, height=900, dark=False, media=""):
        """Load a file into a window of a size, and wait until it is there."""
        mobile = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.do("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.events.clear()
        self.do("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + SECONDS
        while ("Page.loadEventFired") not in [name for name, _ in self.events]:
            assert time.monotonic() < end, f"{path} did not load"
            self.run("1")

    def run(self, script):
        """Give the value of JavaScript."""
        found = self.do(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def complaints(self):
        """What stands in the console."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event[0] in kinds]

    def requests(self):
        """What was asked for, beside what lies in the page itself."""
        asked = [
            what["request"]["url"]
            for kind, what in self.events
            if kind == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def picture(self, path):
        """Write what the window shows as a picture."""
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))

    def pdf(self):
        """Print, and give the file."""
        return base64.b64decode(self.do("Page.printToPDF")["data"])

    def close(self):
        os.close(self._to)
        self._process.terminate()
        self._process.wait(timeout=SECONDS)
        os.close(self._from)

    def _read(self):
        while ENDED not in self._bytes:
            ready, _, _ = select.select([self._from], [], [], SECONDS)
            assert ready, "chromium says nothing"
            more = os.read(self._from, 1 << 16)
            assert more, "chromium has ended"
            self._bytes += more
        message, _, self._bytes = self._bytes.partition(ENDED)
        return json.loads(message)
