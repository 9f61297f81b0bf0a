"""One Chromium for all; every test has a page and a profile of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

async_api = pytest.importorskip("playwright.async_api", reason="the pages are driven by playwright (extra: dev)")
pytest.importorskip("av", reason="the films are made by PyAV (extra: video)")

from evening import CHROMIUM, FLAGS, View  # noqa: E402 - it needs what was asked for above

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no Chromium, and say how to get one."""
    if not CHROMIUM:
        for item in items:
            if "browser" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="no chromium here: apt-get install chromium"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Return Debian's Chromium, without a window."""
    async with async_api.async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def view(browser: Browser) -> AsyncIterator[View]:
    """Return an empty page, on a desktop."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    yield View(await context.new_page())
    await context.close()
