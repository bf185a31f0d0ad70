"""The site builds without a warning, all its links lead somewhere, and its pages need no network."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pages import PAGES, ROOT


class Page(HTMLParser):
    """What a page of the site links to, what a browser loads for it, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "search", "index", "next", "prev"):
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


def built(out: Path, docs: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = (
        [str(ROOT / "scripts" / "docs"), str(out)]
        if docs is None
        else [str(ROOT / ".venv/bin/sphinx-build"), "-q", "-W", "--keep-going", str(docs), str(out)]
    )
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = built(out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}/index.html\n"
    return out


def broken_links(site: Path) -> list[str]:
    """The internal links of a site's pages that lead nowhere."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_there = target.is_file() if target not in pages else True
            if is_there and parts.fragment and target in pages:
                is_there = unquote(parts.fragment) in pages[target].anchors or link == "#"
            if not is_there:
                broken.append(f"{path.name}: {link}")
    return broken


def test_every_page_is_there_and_in_the_table_of_contents(site: Path) -> None:
    contents = {urlsplit(link).path for link in Page(site / "index.html").links}
    for page in PAGES:
        if page.parent.name == "docs" and page.stem != "index":
            assert (site / f"{page.stem}.html").is_file()
            assert f"{page.stem}.html" in contents


def test_every_internal_link_and_anchor_leads_somewhere(site: Path) -> None:
    assert broken_links(site) == []
    links = Page(site / "custom_functions.html").links
    assert any(link.endswith("custom_relu.py") for link in links)  # a file that is no page comes along
    assert "sweeps.html#trained-as-one" in links


def test_a_broken_link_is_seen(site: Path) -> None:
    page = site / "broken.html"
    page.write_text('<a href="start.html#nowhere"></a><a href="no.html"></a><a href="start.html#then"></a>')
    try:
        assert broken_links(site) == ["broken.html: start.html#nowhere", "broken.html: no.html"]
    finally:
        page.unlink()


@pytest.mark.parametrize("link", ["[x](no.md)", "[x](index.md#no)", "[x](#no)", "[x](no.py)"])
def test_a_page_with_a_broken_link_is_not_built(tmp_path: Path, link: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text())
    (docs / "index.md").write_text("# One\n\n## Two\n\n[fine](#two)\n")
    assert built(tmp_path / "out", docs).returncode == 0
    (docs / "index.md").write_text(f"# One\n\n{link}\n")
    assert "WARNING" in built(tmp_path / "out", docs).stderr


def test_links_of_the_plain_files_lead_somewhere() -> None:
    """As a plain file view has them: README.md and docs/*.md beside the files that they link to."""
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            is_there = target.exists() and (not anchor or anchor in anchors(target))
            if not urlsplit(link).scheme and not is_there:
                broken.append(f"{page.name}: {link}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert [one for one in Page(path).loaded if urlsplit(one).netloc] == [], path.name
    for path in site.rglob("*.css"):
        loaded = re.findall(r"@import[^;]*|url\([^)]*\)", path.read_text(encoding="utf-8"))
        assert [one for one in loaded if "//" in one and "data:" not in one] == [], path.name
