"""One Chromium for all; every test has a page and a profile of its own."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from evening import CHROMIUM, FLAGS, View

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where something is missing, and say how to get it."""
    needed = {
        "no chromium here: apt-get install chromium": CHROMIUM,
        "no playwright here: pip install 'batchrunner[dev]'": find_spec("playwright"),
        "no PyAV here: pip install 'batchrunner[video]'": find_spec("av"),
    }
    missing = [reason for reason, found in needed.items() if not found]
    for item in items:
        if missing and "browser" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason=missing[0]))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Return Debian's Chromium, without a window."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - it may be missing, and then this is skipped

    async with async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def view(browser: Browser) -> AsyncIterator[View]:
    """Return an empty page, on a desktop."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    yield View(await context.new_page())
    await context.close()
