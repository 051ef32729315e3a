"""The page of `emoicl app`: enroll a speaker, and see what that changes. Nothing leaves the machine that serves it."""

import os


# Otherwise Gradio tells its makers of each start, and asks them for its newest version.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from emoicl.app.page import build_app, launch, serve  # noqa: E402


__all__ = ["build_app", "launch", "serve"]
