"""Where a method comes from, kept beside the code so that `spikeloom cite` is complete by construction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication. `key` is the BibTeX key; `url` a DOI or arXiv address."""

    key: str
    title: str
    authors: str
    venue: str
    year: int
    url: str = ""

    def bibtex(self) -> str:
        """The BibTeX entry."""
        journal = any(word in self.venue for word in ("Front", "Journal", "Neural", "Neurocomputing", "Trans", "arXiv"))
        kind = "article" if journal else "inproceedings"
        where = "journal" if kind == "article" else "booktitle"
        rows = [("title", "{" + self.title + "}"), ("author", self.authors), (where, self.venue), ("year", str(self.year))]
        if self.url:
            rows.append(("url", self.url))
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in rows)
        return f"@{kind}{{{self.key},\n{body}\n}}"
