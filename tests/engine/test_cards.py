"""A repository's card: what it says, without what it would do."""

from rbee_tui.engine import cards

CARD = """---
license: mit
---
# Tiny

![badge](https://x/b.png) [![b](y)](z)

<script>alert(1)</script><!-- hidden -->**Tiny** is a [model](https://evil.test) that recites one
sentence, \x1b]52;c;AA\x07 and no more.

```
rbee pull acme/tiny
```
"""


class TestCard:
    """Text alone."""

    def test_lines(self):
        """Front matter, markup, pictures and addresses are away; code stays; controls are visible."""
        found = cards.lines(CARD)
        assert found[0] == "Tiny"
        assert "rbee pull acme/tiny" in found
        text = "\n".join(found)
        for away in ("license", "badge", "alert", "hidden", "evil", "**", "\x1b", "\x07"):
            assert away not in text

    def test_the_summary(self):
        """The first paragraph that is more than a title, cut where it is long."""
        assert cards.summary(CARD).startswith("Tiny is a model that recites one sentence,")
        assert cards.summary("# Title\n") == ""
        assert len(cards.summary("word " * 500)) <= 400
