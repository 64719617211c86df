"""Links of the pages that lead out of docs: on the site they are names, not links."""

import re

_OUT = re.compile(r'\[([^\]]+)\]\(((?:\.\./)+(?!\w+\.md)[^)]*)\)')


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Turn links to files of the repository into text.

    Args:
        markdown: Text of the page.
        page: The page.
        config: The site's.
        files: All of its files.

    Returns:
        The text to show.
    """
    depth = page.file.src_uri.count('/')

    def replace(match: re.Match) -> str:
        """Keep a link that stays within docs."""
        out = match[2].count('../') > depth
        return match[1] if out else match[0]

    return _OUT.sub(replace, markdown)
