"""A headless Chromium, driven over a pipe by the DevTools protocol: no driver and no package is needed."""

import base64
import json
import os
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from select import POLLIN, poll
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_TIMEOUT_S = 60
_AXE = "axe_playwright_python"  # the package that ships axe-core; nothing else of it is used
_FINDINGS = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) =>
  violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target} ${node.html.slice(0, 200)}`)))"""


class Browser:
    """One page in a browser of its own; it remembers errors of the console and every request."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        (to_read, self._write), (self._read, to_write) = os.pipe(), os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars"
        command = (
            f'exec "$0" {options} --remote-debugging-pipe --user-data-dir="$1" about:blank 3<&{to_read} 4>&{to_write}'
        )
        arguments = ["bash", "-c", command, CHROMIUM, str(profile)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(arguments, pass_fds=(to_read, to_write), stdout=quiet, stderr=quiet)
        os.close(to_read)
        os.close(to_write)
        self._readable = poll()  # ``select`` takes no descriptor above 1,023
        self._readable.register(self._read, POLLIN)
        self._number, self._received, self._session = 0, b"", ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def open(self, url: str, width: int = 1280, height: int = 900, scheme: str = "light", scripts: bool = True) -> None:
        """Open a page; a blank one before it makes another fragment load anew."""
        self._call("Page.navigate", url="about:blank")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression: str) -> Any:
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        end_s = time.monotonic() + _TIMEOUT_S
        while not self.run(condition):
            assert time.monotonic() < end_s, f"not so within {_TIMEOUT_S} s: {condition}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        codes = {
            "Enter": 13,
            "End": 35,
            "Tab": 9,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
            "Home": 36,
        }
        one = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self._call("Input.dispatchKeyEvent", type="keyDown", **one, **({"text": "\r"} if key == "Enter" else {}))
        self._call("Input.dispatchKeyEvent", type="keyUp", **one)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def findings(self) -> list[str]:
        """Return what axe finds on the page that is serious or critical, a line each."""
        package = find_spec(_AXE)
        if package is None or not package.submodule_search_locations:
            pytest.skip(f"no axe: pip install --no-deps {_AXE.replace('_', '-')}")
        source = Path(package.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
        self.run(f"{source};0")
        found: list[str] = self.run(_FINDINGS)
        return found

    def names(self) -> list[tuple[str, str]]:
        """Return role and name, as a screen reader has them, of everything that takes the focus."""
        tree = self._call("Accessibility.getFullAXTree")["nodes"]
        focusable = [node for node in tree if any(one["name"] == "focusable" for one in node.get("properties", ()))]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in focusable]

    def move(self, x: float, y: float) -> None:
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, file: Path) -> None:
        """Write the whole page as PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self._call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            received = self._receive()
            if received.get("id") == self._number:
                assert "error" not in received, (method, received["error"])
                return received["result"]
            self._note(received)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            assert self._readable.poll(1000 * _TIMEOUT_S), f"the browser said nothing for {_TIMEOUT_S} s"
            chunk = os.read(self._read, 1 << 20)
            assert chunk, "the browser ended"
            self._received += chunk
        line, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        given, method = event.get("params", {}), event.get("method")
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(given["exceptionDetails"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and given["type"] in {"error", "assert"}:
            self.errors.append(str(given["args"]))
