"""The gallery: one offline page beside the videos, that looks for its own news while a batch runs."""

from batchrunner.show.gallery.fold import Outlook, gallery_data
from batchrunner.show.gallery.serve import serving
from batchrunner.show.gallery.write import posters, stands, write_data, write_page, write_poster, write_report

__all__ = [
    "Outlook",
    "gallery_data",
    "posters",
    "serving",
    "stands",
    "write_data",
    "write_page",
    "write_poster",
    "write_report",
]
