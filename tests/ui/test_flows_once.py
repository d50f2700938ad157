"""A key that is pressed again before its answer is there."""

import pytest

from rbee_tui.ui.screens.text import TextScreen
from tests.ui import scenes

pytestmark = pytest.mark.anyio


class TestOnce:
    """Keys come faster than screens."""

    async def test_asked_twice_it_is_shown_once(self):
        """One Esc is enough afterwards, and it can be asked for again."""
        app = scenes.screen(scenes.empty())
        async with app.run_test(size=(80, 24)) as pilot:
            for _ in range(2):
                app.do("help", app.main.situation)
                app.do("help", app.main.situation)
                await pilot.pause()
                assert [isinstance(each, TextScreen) for each in app.screen_stack[1:]] == [False, True]
                await pilot.press("escape")
                await pilot.pause()
                assert app.screen is app.main
