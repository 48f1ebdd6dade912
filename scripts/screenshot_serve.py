"""Take the picture of the page for the documents, from a server that runs.

python scripts/screenshot_serve.py ADDRESS PICTURE OUT.png [WIDTH], from the root of a checkout.
Only of pictures of the synthetic set: images of a data set do not belong into the repository.
"""

import base64
import io
import sys
from pathlib import Path

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.serving.browser import Browser, find_browser

address, picture, out = sys.argv[1:4]
width = int(sys.argv[4]) if len(sys.argv) > 4 else 1160
with Browser(find_browser(), size=(width, 800)) as browser:
    browser.open(address)
    browser.wait("settings !== null")
    browser.upload("#file", picture)
    browser.wait("!document.getElementById('result').hidden", seconds=300)
    browser.run("window.scrollTo(0, 0)")
    height = browser.run("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    shown = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    ImageOps.posterize(shown, 6).save(out, optimize=True)  # much smaller, looks the same
